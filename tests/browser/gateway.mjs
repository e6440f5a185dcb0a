// The meeting application's server as far as a headless member sees it: REST login and join, and the
// Socket.IO gateways, on the official `socket.io` package, with their defects: no acknowledgement is
// ever called, a join takes its time and what comes earlier is dropped without a word, relays come
// twice, mappings outlive their sockets, and a lost socket announces its user's departure much later.
//
//   import { startGateway } from './gateway.mjs';
//   const gateway = await startGateway({ port: 0, openMeeting: true });
//   gateway.received('some-user');           // what that user sent, with times
//   await gateway.close();
//
//   node gateway.mjs --port 3000 --open-meeting --join-delay 200 --no-duplicates
//     prints one line {"port":3000}; the same controls are at POST /__test/NAME with a JSON object.

import { createHmac, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { extname, join as joinPath, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Server } from 'socket.io';

const HERE = fileURLToPath(new URL('.', import.meta.url));

const DEFAULTS = {
  port: 0,
  host: '127.0.0.1',
  // Static pages at `/`.
  pages: joinPath(HERE, 'pages'),
  // The one account of POST auth/login, and the user it belongs to.
  email: 'box@example.org',
  password: 'correct horse',
  user: '00000000-0000-4000-8000-000000000001',
  // Name of the token in the login's answer; the application's code and comments differ.
  tokenField: 'access_token',
  // Wrap the login's answer as {data: {...}}.
  tokenNested: false,
  // Answer 404 to everything under /api/, as a server without these routes does.
  rest: true,
  // Milliseconds before any REST answer.
  restDelay: 0,
  // Create the participant row at `meeting:join` (for members that skip the REST join).
  openMeeting: false,
  // Milliseconds the socket join takes; the application's database makes it 30 at least.
  joinDelay: 30,
  // Relay `media:offer|answer|ice-candidate` and `media:peer-ready` twice, as two loaded gateways do.
  duplicates: true,
  // Keep a user's socket mapping after the socket is gone: signaling to it is lost without `webrtc:error`.
  keepMapping: true,
  // Send `youtube:sync` during the join: an event that means nothing to a box.
  youtube: true,
  // A socket with neither a user id nor a token is refused.
  requireUser: true,
  pingInterval: 25_000,
  pingTimeout: 60_000,
  // Only one member of a meeting may share its screen.
  oneShare: false,
  // Refuse every connection in the middleware with this message (CONNECT_ERROR).
  refuse: '',
  // Every token is wrong to the sockets, though REST takes it.
  refuseTokens: false,
  // PEM files: serve https.
  tlsCert: '',
  tlsKey: '',
  // Print every event that arrives, to stderr.
  verbose: false,
  // A Unix socket that serves the test controls as well, for a gateway whose network a test cuts.
  controlSocket: '',
  // As a program: end when standard input ends, so that no test leaves a server behind.
  exitWithStdin: false,
};

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const nowIso = () => new Date().toISOString();
const pick = (object, ...names) => {
  for (const name of names) if (object?.[name] != null && object[name] !== '') return String(object[name]);
  return undefined;
};

class Gateway {
  constructor(options) {
    this.options = { ...DEFAULTS, ...options };
    this.secret = randomBytes(32);
    // What the application keeps in its database and shared store: survives a restart.
    this.meetings = new Map();
    this.names = new Map();
    this.mapping = new Map();
    // For assertions.
    this.events = [];
    this.connections = [];
    this.rest = [];
    this.sockets = new Map();
    this.crashing = false;
  }

  // ---- the application's state --------------------------------------------------------------

  meeting(id) {
    if (!this.meetings.has(id)) {
      this.meetings.set(id, {
        id,
        exists: true,
        live: true,
        locked: false,
        capacity: Infinity,
        rows: new Map(),
        blocked: new Set(),
        sharers: new Set(),
      });
    }
    return this.meetings.get(id);
  }

  row(meeting, user, role = 'participant') {
    const rows = this.meeting(meeting).rows;
    if (!rows.has(user)) {
      rows.set(user, { userId: user, role, online: false, isMuted: false, isVideoOff: false, isHandRaised: false });
    }
    return rows.get(user);
  }

  name(user) {
    return this.names.get(user) ?? `Member ${user.slice(0, 8)}`;
  }

  // A JSON web token as the application's login gives (RFC 7519, HS256).
  token(user, seconds = 3600) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + seconds })}`;
    return `${body}.${createHmac('sha256', this.secret).update(body).digest('base64url')}`;
  }

  // The user a token belongs to, or undefined if it is wrong or expired.
  verify(token) {
    const [head, claims, signature] = String(token).split('.');
    if (!signature) return undefined;
    const right = createHmac('sha256', this.secret).update(`${head}.${claims}`).digest('base64url');
    if (signature !== right) return undefined;
    try {
      const { sub, exp } = JSON.parse(Buffer.from(claims, 'base64url').toString());
      return exp * 1000 > Date.now() ? sub : undefined;
    } catch {
      return undefined;
    }
  }

  // ---- life ---------------------------------------------------------------------------------

  async listen(port) {
    const { tlsCert, tlsKey } = this.options;
    const tls = tlsCert && { cert: await readFile(tlsCert), key: await readFile(tlsKey) };
    const onRequest = (request, response) => {
      this.serve(request, response).catch((error) => {
        if (!response.headersSent) response.writeHead(500, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ statusCode: 500, message: String(error?.message ?? error) }));
      });
    };
    this.http = tls ? createSecureServer(tls, onRequest) : createServer(onRequest);
    this.raw = new Set();
    this.http.on('connection', (raw) => {
      this.raw.add(raw);
      raw.on('close', () => this.raw.delete(raw));
      raw.on('error', () => {});
    });
    this.io = new Server(this.http, {
      transports: ['websocket', 'polling'],
      allowEIO3: true,
      pingInterval: this.options.pingInterval,
      pingTimeout: this.options.pingTimeout,
      maxHttpBufferSize: 1e8,
      perMessageDeflate: { threshold: 1024 },
      cors: { origin: true, credentials: true },
    });
    this.io.use((socket, next) => (this.options.refuse ? next(new Error(this.options.refuse)) : next()));
    this.io.on('connection', (socket) => this.handleConnection(socket));
    await new Promise((resolve, reject) => {
      this.http.once('error', reject);
      this.http.listen(port, this.options.host, resolve);
    });
    this.port = this.http.address().port;
    this.url = `${tls ? 'https' : 'http'}://${this.options.host}:${this.port}`;
  }

  async stop() {
    const { io, http, raw } = this;
    io.disconnectSockets(true);
    const closed = new Promise((resolve) => http.close(resolve));
    io.close().catch(() => {});
    for (const socket of raw) socket.destroySoon();
    setTimeout(() => raw.forEach((socket) => socket.destroy()), 200).unref();
    await closed;
    this.sockets.clear();
  }

  // ---- REST ---------------------------------------------------------------------------------

  async serve(request, response) {
    const url = new URL(request.url, 'http://gateway');
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    if (url.pathname.startsWith('/__test/')) return this.serveControl(url, text, response);
    if (url.pathname.startsWith('/api/')) return this.serveRest(request, url, text, response);
    return this.servePage(url, response);
  }

  // The same controls beside the network; it outlives a restart, and answers a restart when it is over.
  listenToControls(path) {
    this.controls = createServer(async (request, response) => {
      const name = request.url.slice('/__test/'.length);
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const text = Buffer.concat(chunks).toString();
      let [status, value] = [404, { message: `no test control ${name}` }];
      if (CONTROLS.includes(name)) {
        [status, value] = await Promise.resolve()
          .then(() => this[name](text ? JSON.parse(text) : {}))
          .then((answer) => [200, answer ?? null], (error) => [500, { message: String(error?.message ?? error) }]);
      }
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(value));
    });
    return new Promise((resolve, reject) => {
      this.controls.once('error', reject);
      this.controls.listen(path, resolve);
    });
  }

  async serveControl(url, text, response) {
    const name = url.pathname.slice('/__test/'.length);
    const reply = (status, value) => {
      response.writeHead(status, { 'content-type': 'application/json', 'access-control-allow-origin': '*' });
      response.end(JSON.stringify(value ?? null));
    };
    if (!CONTROLS.includes(name)) return reply(404, { message: `no test control ${name}` });
    const args = { ...Object.fromEntries(url.searchParams), ...(text ? JSON.parse(text) : {}) };
    if (name === 'restart') {
      // The answer has to leave before the server goes away.
      reply(202, {});
      await new Promise((resolve) => (response.writableFinished ? resolve() : response.once('finish', resolve)));
      return this.restart(args);
    }
    return reply(200, await this[name](args));
  }

  async serveRest(request, url, text, response) {
    const { options } = this;
    if (options.restDelay) await sleep(options.restDelay);
    const reply = (status, value) => {
      response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' });
      response.end(JSON.stringify(value));
    };
    const fail = (statusCode, message, error) => reply(statusCode, { message, error, statusCode });
    const noRoute = () => fail(404, `Cannot ${request.method} ${url.pathname}`, 'Not Found');
    let body = {};
    try {
      body = text ? JSON.parse(text) : {};
    } catch {
      return fail(400, 'Unexpected token in JSON', 'Bad Request');
    }
    const path = url.pathname.replace(/^\/api\/v1\//, '');
    const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    const user = bearer && this.verify(bearer);
    this.rest.push({ at: Date.now(), method: request.method, path, body, user, bearer: Boolean(bearer) });
    if (!options.rest || path === url.pathname) return noRoute();

    if (request.method === 'POST' && path === 'auth/login') {
      if (body.email !== options.email || body.password !== options.password) {
        return fail(401, 'Invalid credentials', 'Unauthorized');
      }
      const answer = { [options.tokenField]: this.token(options.user), user: { id: options.user, email: options.email } };
      return reply(201, options.tokenNested ? { success: true, data: answer } : answer);
    }

    const match = /^(?:public-meetings|classrooms\/[^/]+\/meetings)\/([^/]+)\/(join|leave|participants)$/.exec(path);
    if (!match) return noRoute();
    if (!user) return fail(401, 'Unauthorized');
    const meeting = this.meeting(decodeURIComponent(match[1]));
    if (!meeting.exists) return fail(404, 'Meeting not found', 'Not Found');

    if (request.method === 'POST' && match[2] === 'join') {
      const unknown = Object.keys(body).filter((key) => !['audioEnabled', 'videoEnabled'].includes(key));
      if (unknown.length) return fail(400, unknown.map((key) => `property ${key} should not exist`), 'Bad Request');
      const host = meeting.rows.get(user)?.role === 'host';
      if (meeting.blocked.has(user)) return fail(403, 'You are blocked from this meeting', 'Forbidden');
      if (!meeting.live) {
        if (!host) return fail(400, 'Meeting is not live', 'Bad Request');
        meeting.live = true;
      }
      if (meeting.locked && !host) return fail(403, 'Meeting is locked', 'Forbidden');
      const others = [...meeting.rows.values()].filter((row) => row.online && row.userId !== user).length;
      if (others >= meeting.capacity) return fail(409, 'Meeting is full', 'Conflict');
      const row = this.row(meeting.id, user);
      row.online = true;
      return reply(201, { id: `row-${user}`, role: row.role, is_online: true });
    }
    if (request.method === 'POST' && match[2] === 'leave') {
      const row = meeting.rows.get(user);
      if (!row?.online) return fail(404, 'Participant not found', 'Not Found');
      row.online = false;
      return reply(201, { message: 'Left the meeting' });
    }
    if (request.method === 'GET' && match[2] === 'participants') {
      return reply(
        200,
        [...meeting.rows.values()].map((row) => ({
          id: `row-${row.userId}`,
          user: { id: row.userId, name: this.name(row.userId), email: null, avatar_url: null },
          role: row.role,
          is_online: row.online,
          is_muted: row.isMuted,
          is_video_off: row.isVideoOff,
          is_hand_raised: row.isHandRaised,
          is_kicked: false,
        })),
      );
    }
    return noRoute();
  }

  async servePage(url, response) {
    const types = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.wasm': 'application/wasm' };
    const relative = normalize(decodeURIComponent(url.pathname)).replace(/^\/+/, '') || 'index.html';
    try {
      if (relative.startsWith('..')) throw new Error('outside');
      const content = await readFile(joinPath(this.options.pages, relative));
      response.writeHead(200, { 'content-type': `${types[extname(relative)] ?? 'application/octet-stream'}; charset=utf-8`, 'cache-control': 'no-store' });
      response.end(content);
    } catch {
      response.writeHead(404, { 'content-type': 'text/plain' });
      response.end(`no page ${url.pathname}\n`);
    }
  }

  // ---- Socket.IO ----------------------------------------------------------------------------

  handleConnection(socket) {
    const { query, auth, headers } = socket.handshake;
    const token = pick(auth, 'token') ?? pick(query, 'token') ?? /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1];
    const owner = token && !this.options.refuseTokens && this.verify(token);
    const user = pick(query, 'userId') ?? pick(auth, 'userId') ?? owner;
    this.connections.push({
      at: Date.now(),
      user,
      socket: socket.id,
      transport: socket.conn.transport.name,
      query: { ...query, token: query.token && '...' },
      auth: { ...auth, token: auth?.token && '...' },
      tokenValid: token ? Boolean(owner) : null,
      open: true,
    });
    const connection = this.connections.at(-1);
    socket.on('disconnect', (reason) => {
      Object.assign(connection, { open: false, closedAt: Date.now(), reason });
    });
    if ((token && !owner) || (!user && this.options.requireUser)) {
      socket.emit('error', { message: 'Authentication required' });
      socket.disconnect();
      return;
    }
    if (pick(query, 'name')) this.names.set(user, pick(query, 'name'));
    Object.assign(socket.data, { user, query, meeting: undefined });
    this.sockets.set(socket.id, socket);
    // The newest connection of a user owns the mapping already here, and again when it joins.
    this.mapping.set(user, socket.id);

    socket.onAny((event, ...args) => {
      const wantsAck = typeof args.at(-1) === 'function';
      if (wantsAck) args.pop();
      const dropped = event !== 'meeting:join' && !socket.data.meeting;
      this.events.push({ at: Date.now(), user, socket: socket.id, event, args, payload: args[0], wantsAck, dropped });
      if (this.options.verbose) process.stderr.write(`${nowIso()} ${user} ${event}${dropped ? ' (dropped)' : ''}\n`);
      if (event === 'meeting:join') {
        this.onJoin(socket, args[0] ?? {});
      } else if (!dropped) {
        this.handlers[event]?.call(this, socket, args[0] ?? {});
      }
    });
    socket.on('disconnect', () => this.onDisconnect(socket));
  }

  async onJoin(socket, { meetingId, userId }) {
    const user = socket.data.user ?? userId;
    if (!meetingId) return socket.emit('meeting:join-error', { message: 'Failed to join meeting', meetingId, userId });
    const again = socket.data.meeting === meetingId;
    await sleep(this.options.joinDelay);
    if (!socket.connected) return;
    const joined = () => socket.emit('meeting:joined', { meetingId, userId: user, userName: this.name(user), timestamp: nowIso() });
    if (again) return joined();
    const meeting = this.meeting(meetingId);
    if (!meeting.rows.has(user) && this.options.openMeeting && !meeting.blocked.has(user)) {
      this.row(meetingId, user, pick(socket.data.query, 'role'));
    }
    const row = meeting.rows.get(user);
    if (!row) return socket.emit('error', { message: 'Not authorized to join this meeting' });
    row.online = true;
    socket.join(meetingId);
    socket.data.user = user;
    socket.data.meeting = meetingId;
    this.mapping.set(user, socket.id);
    socket.to(meetingId).emit('meeting:user-joined', { userId: user, userName: this.name(user), avatarUrl: null, role: row.role, timestamp: nowIso() });
    socket.emit('meeting:participants', {
      participants: [...meeting.rows.values()]
        .filter((each) => each.online)
        .map((each) => ({
          userId: each.userId,
          userName: this.name(each.userId),
          avatarUrl: null,
          role: each.role,
          isMuted: each.isMuted,
          isVideoOff: each.isVideoOff,
          isHandRaised: each.isHandRaised,
        })),
    });
    if (this.options.youtube) socket.emit('youtube:sync', { videoId: null, currentTime: 0, isPlaying: false });
    joined();
  }

  // Sets the row offline and tells the room, whoever else of the same user may be there by now.
  departed(meetingId, user, withName = true) {
    const row = this.meeting(meetingId).rows.get(user);
    if (row) row.online = false;
    this.io.to(meetingId).emit('meeting:user-left', { userId: user, ...(withName && { userName: this.name(user) }), timestamp: nowIso() });
  }

  onDisconnect(socket) {
    this.sockets.delete(socket.id);
    const { user, meeting } = socket.data;
    if (this.crashing) return;
    if (!this.options.keepMapping) this.mapping.delete(user);
    if (meeting) this.departed(meeting, user);
  }

  // To the one socket currently mapped to a user. True if there is a mapping, even to a dead socket.
  unicast(user, event, payload, times = 1) {
    const id = this.mapping.get(user);
    if (!id) return false;
    for (let i = 0; i < times; i += 1) this.sockets.get(id)?.emit(event, payload);
    return true;
  }

  get copies() {
    return this.options.duplicates ? 2 : 1;
  }

  handlers = {
    'meeting:leave'(socket) {
      const { meeting, user } = socket.data;
      this.departed(meeting, user);
      socket.leave(meeting);
      socket.data.meeting = undefined;
    },
    'meeting:request-peers'(socket) {
      const { meeting, user } = socket.data;
      for (const row of this.meeting(meeting).rows.values()) {
        if (row.online && row.userId !== user) {
          socket.emit('meeting:user-joined', { userId: row.userId, userName: this.name(row.userId) });
        }
      }
    },
    'webrtc:ready'(socket) {
      const { meeting, user } = socket.data;
      socket.to(meeting).emit('webrtc:peer-ready', { userId: user, userName: this.name(user) });
    },
    'media:ready'(socket, { roomId, userId }) {
      // The first gateway copies the user id from the payload, present or not; the second knows its socket.
      socket.to(socket.data.meeting).emit('media:peer-ready', { userId });
      if (this.options.duplicates && roomId) socket.to(roomId).emit('media:peer-ready', { userId: socket.data.user });
    },
    'webrtc:offer'(socket, { targetUserId, offer }) {
      this.webrtcRelay(socket, 'webrtc:offer', targetUserId, { offer });
    },
    'webrtc:answer'(socket, { targetUserId, answer }) {
      this.webrtcRelay(socket, 'webrtc:answer', targetUserId, { answer });
    },
    'webrtc:ice-candidate'(socket, { targetUserId, candidate }) {
      this.unicast(targetUserId, 'webrtc:ice-candidate', { fromUserId: socket.data.user, candidate });
    },
    'media:offer'(socket, { targetUserId, roomId, offer }) {
      this.unicast(targetUserId, 'media:offer', { fromUserId: socket.data.user, roomId, offer }, this.copies);
    },
    'media:answer'(socket, { targetUserId, roomId, answer }) {
      this.unicast(targetUserId, 'media:answer', { fromUserId: socket.data.user, roomId, answer }, this.copies);
    },
    'media:ice-candidate'(socket, { targetUserId, roomId, candidate }) {
      this.unicast(targetUserId, 'media:ice-candidate', { fromUserId: socket.data.user, roomId, candidate }, this.copies);
    },
    'media:toggle-mic'(socket, { isMuted }) {
      this.setMuted(socket.data, isMuted);
    },
    'media:toggle-video'(socket, { isVideoOff }) {
      this.setVideoOff(socket.data, isVideoOff);
    },
    'media:screen-share'(socket, { isSharing }) {
      const { meeting, user } = socket.data;
      const { sharers } = this.meeting(meeting);
      if (isSharing && this.options.oneShare && [...sharers].some((other) => other !== user)) {
        socket.emit('media:error', { message: 'Another user is already sharing their screen' });
        return;
      }
      if (isSharing) sharers.add(user);
      else sharers.delete(user);
      this.io.to(meeting).emit('media:user-screen-share', { userId: user, isSharing, timestamp: nowIso() });
    },
    // Whoever joined by meeting:join has no entry in the state store: written, not broadcast.
    'media:state-update'(socket, { isMuted, isVideoOff }) {
      const row = this.row(socket.data.meeting, socket.data.user);
      if (isMuted !== undefined) row.isMuted = isMuted;
      if (isVideoOff !== undefined) row.isVideoOff = isVideoOff;
      socket.emit('media:state-update-error', { message: 'Participant state not found' });
    },
    'chat:message'(socket, { message, replyTo }) {
      const { meeting, user } = socket.data;
      if (typeof message !== 'string') return socket.emit('chat:error', { message: 'Failed to send message' });
      this.io.to(meeting).emit('chat:message', { id: randomBytes(8).toString('hex'), message, senderId: user, senderName: this.name(user), senderAvatar: null, replyTo, timestamp: nowIso(), type: 'text' });
    },
    'hand:raise'(socket) {
      const { meeting, user } = socket.data;
      this.row(meeting, user).isHandRaised = true;
      this.io.to(meeting).emit('hand:raised', { userId: user, userName: this.name(user) });
    },
    'hand:lower'(socket) {
      const { meeting, user } = socket.data;
      this.row(meeting, user).isHandRaised = false;
      this.io.to(meeting).emit('hand:lowered', { userId: user });
    },
    'admin:mute-user'(socket, { targetUserId, mute }) {
      const row = this.hostsTarget(socket, targetUserId);
      if (row) this.setMuted({ meeting: socket.data.meeting, user: targetUserId }, mute ?? !row.isMuted);
    },
    'admin:video-off-user'(socket, { targetUserId, videoOff }) {
      const row = this.hostsTarget(socket, targetUserId);
      if (row) this.setVideoOff({ meeting: socket.data.meeting, user: targetUserId }, videoOff ?? !row.isVideoOff);
    },
    'admin:stop-share-user'(socket, { targetUserId }) {
      if (!this.hostsTarget(socket, targetUserId)) return;
      this.io.to(socket.data.meeting).emit('media:user-screen-share', { userId: targetUserId, isSharing: false, timestamp: nowIso() });
    },
    'admin:kick-user'(socket, { targetUserId, reason }) {
      if (this.hostsTarget(socket, targetUserId)) this.expel(socket.data.meeting, targetUserId, 'user:kicked', reason);
    },
    'admin:block-user'(socket, { targetUserId, reason }) {
      if (!this.hostsTarget(socket, targetUserId)) return;
      this.meeting(socket.data.meeting).blocked.add(targetUserId);
      this.expel(socket.data.meeting, targetUserId, 'user:blocked', reason);
    },
  };

  webrtcRelay(socket, event, target, content) {
    if (!this.unicast(target, event, { fromUserId: socket.data.user, ...content })) {
      socket.emit('webrtc:error', { targetUserId: target, error: 'User not connected' });
    }
  }

  setMuted({ meeting, user }, isMuted) {
    const row = this.meeting(meeting).rows.get(user);
    if (row) row.isMuted = isMuted;
    this.io.to(meeting).emit('media:user-muted', { userId: user, isMuted });
  }

  setVideoOff({ meeting, user }, isVideoOff) {
    const row = this.meeting(meeting).rows.get(user);
    if (row) row.isVideoOff = isVideoOff;
    this.io.to(meeting).emit('media:user-video-off', { userId: user, isVideoOff });
  }

  // The target's row if the socket is a host's; anybody else is ignored without a word.
  hostsTarget(socket, target) {
    const rows = this.meeting(socket.data.meeting).rows;
    return rows.get(socket.data.user)?.role === 'host' ? rows.get(target) : undefined;
  }

  // The expelled socket stays connected and in the room: its owner has to go by itself.
  expel(meeting, user, event, reason) {
    this.meeting(meeting).rows.delete(user);
    this.io.to(meeting).emit(event, { userId: user, reason, timestamp: nowIso() });
    this.departed(meeting, user, false);
  }

  // ---- test controls ------------------------------------------------------------------------
  // Each takes one object, so that the same names serve over HTTP; the plain user id is accepted too.

  socketsOf(args) {
    const user = typeof args === 'string' ? args : args.user;
    return [...this.sockets.values()].filter((socket) => !user || socket.data.user === user);
  }

  // What was sent to the server: [{at, user, socket, event, args, payload, wantsAck, dropped}].
  received(args = {}) {
    const { user, event } = typeof args === 'string' ? { user: args } : args;
    return this.events.filter((each) => (!user || each.user === user) && (!event || each.event === event));
  }

  // Connections ever made, with their handshake and, when gone, the server's reason.
  connected(args = {}) {
    const { user } = typeof args === 'string' ? { user: args } : args;
    return this.connections.filter((each) => !user || each.user === user);
  }

  // REST requests ever made.
  requested() {
    return this.rest;
  }

  // Rows of a meeting.
  rows({ meeting }) {
    return [...this.meeting(meeting).rows.values()];
  }

  // Forgets what was recorded.
  forget() {
    this.events.length = 0;
    this.rest.length = 0;
    this.connections = this.connections.filter((each) => each.open);
  }

  // Ends the TCP connection without a WebSocket close frame; `reset` sends RST instead of FIN.
  kill(args) {
    const sockets = this.socketsOf(args);
    for (const socket of sockets) {
      const raw = rawSocket(socket);
      if (args.reset) raw.resetAndDestroy();
      else raw.destroy();
    }
    return sockets.length;
  }

  // Closes Engine.IO cleanly: a WebSocket close frame.
  cleanClose(args) {
    const sockets = this.socketsOf(args);
    for (const socket of sockets) socket.conn.close();
    return sockets.length;
  }

  // DISCONNECT packet of the namespace; the transport stays open unless `transport` is set.
  disconnectSocket(args) {
    const sockets = this.socketsOf(args);
    for (const socket of sockets) socket.disconnect(Boolean(args.transport));
    return sockets.length;
  }

  // Neither reads nor answers from now on, as a half-open connection looks. `thaw` undoes it.
  freeze(args) {
    const sockets = this.socketsOf(args);
    for (const socket of sockets) {
      const raw = rawSocket(socket);
      raw.pause();
      raw.cork();
    }
    return sockets.length;
  }

  thaw(args) {
    const sockets = this.socketsOf(args);
    for (const socket of sockets) {
      const raw = rawSocket(socket);
      raw.uncork();
      raw.resume();
    }
    return sockets.length;
  }

  // Any event to a user's sockets (of the mapping alone with `mapped`), once or many times.
  send({ user, event, payload, args, mapped, times = 1 }) {
    const list = args ?? (payload === undefined ? [] : [payload]);
    const sockets = this.socketsOf({ user }).filter((socket) => !mapped || this.mapping.get(user) === socket.id);
    for (let i = 0; i < times; i += 1) for (const socket of sockets) socket.emit(event, ...list);
    return sockets.length;
  }

  // Any event to everybody in a meeting.
  broadcast({ meeting, event, payload }) {
    this.io.to(meeting).emit(event, payload);
  }

  // Bytes as they are, below Socket.IO: one WebSocket text message.
  sendText({ user, text }) {
    const sockets = this.socketsOf({ user });
    for (const socket of sockets) socket.conn.transport.socket.send(text);
    return sockets.length;
  }

  // The server notices an old connection of this user die: row offline, own id to the room.
  dropRow(args) {
    const user = typeof args === 'string' ? args : args.user;
    const meetings = [...this.meetings.values()].filter((meeting) => meeting.rows.has(user));
    for (const meeting of meetings) this.departed(meeting.id, user);
    return meetings.length;
  }

  // A row that is online without anybody behind it.
  addGhost({ meeting, user, mapped = false }) {
    this.row(meeting, user).online = true;
    if (mapped) this.mapping.set(user, 'gone');
  }

  // Admits a user as the REST join does, with a role.
  admit({ meeting, user, role = 'participant', online = true }) {
    const row = this.row(meeting, user);
    Object.assign(row, { role, online });
    return row;
  }

  // Any of exists, live, locked, capacity of a meeting.
  setMeeting({ meeting, ...fields }) {
    Object.assign(this.meeting(meeting), fields);
  }

  // A user's row is gone, as after a clean-up of the database: the next join is not authorized until REST makes a new one.
  removeRow({ meeting, user }) {
    return this.meeting(meeting).rows.delete(user);
  }

  // Takes a user's row away and blocks a new one.
  block({ meeting, user }) {
    this.meeting(meeting).blocked.add(user);
    this.meeting(meeting).rows.delete(user);
  }

  // Every token given so far is wrong from now on.
  expireTokens() {
    this.secret = randomBytes(32);
  }

  // A token for a user.
  giveToken({ user, seconds }) {
    return { token: this.token(user, seconds) };
  }

  // Changes options while running; those of the engine apply from the next restart on.
  setOptions(options) {
    Object.assign(this.options, options);
  }

  // Goes away for `downMs` and comes back on the same port. `crash` leaves the rows online (ghosts).
  async restart({ downMs = 500, crash = false } = {}) {
    const { port } = this;
    this.crashing = crash;
    if (crash) for (const raw of this.raw) raw.destroy();
    await this.stop();
    this.crashing = false;
    await sleep(downMs);
    await this.listen(port);
  }

  // Ends for good.
  async close() {
    this.controls?.close();
    await this.stop();
  }
}

/** What a test may ask of a gateway, by method name. */
export const CONTROLS = [
  'received', 'connected', 'requested', 'rows', 'forget', 'kill', 'cleanClose', 'disconnectSocket', 'freeze', 'thaw',
  'send', 'broadcast', 'sendText', 'dropRow', 'addGhost', 'admit', 'setMeeting', 'removeRow', 'block', 'expireTokens', 'giveToken',
  'setOptions', 'restart',
];

// The TCP socket under a Socket.IO socket, by whichever transport.
function rawSocket(socket) {
  return socket.conn.transport.socket?._socket ?? socket.request.socket;
}

// Starts a gateway; resolves when it listens. `gateway.port` and `gateway.url` say where.
export async function startGateway(options = {}) {
  const unknown = Object.keys(options).filter((key) => !(key in DEFAULTS));
  if (unknown.length) throw new Error(`unknown gateway option ${unknown.join(', ')}`);
  const gateway = new Gateway(options);
  await gateway.listen(gateway.options.port);
  if (gateway.options.controlSocket) await gateway.listenToControls(gateway.options.controlSocket);
  return gateway;
}

// `--join-delay 200 --open-meeting --no-duplicates` -> {joinDelay: 200, openMeeting: true, duplicates: false}
function parseArguments(words) {
  const options = {};
  const camel = (word) => word.replace(/-(.)/g, (_, letter) => letter.toUpperCase());
  for (let i = 0; i < words.length; i += 1) {
    if (!words[i].startsWith('--')) throw new Error(`expected an option, found ${words[i]}`);
    const word = words[i].slice(2);
    const value = words[i + 1];
    if (word.startsWith('no-')) options[camel(word.slice(3))] = false;
    else if (value === undefined || value.startsWith('--')) options[camel(word)] = true;
    else {
      options[camel(word)] = typeof DEFAULTS[camel(word)] === 'number' ? Number(value) : value;
      i += 1;
    }
  }
  return options;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const gateway = await startGateway(parseArguments(process.argv.slice(2)));
  process.stdout.write(`${JSON.stringify({ port: gateway.port })}\n`);
  if (gateway.options.exitWithStdin) {
    process.stdin.resume();
    process.stdin.on('end', () => process.exit(0));
  }
  process.on('SIGTERM', () => process.exit(0));
}
