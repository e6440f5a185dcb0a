// What every manner of member has in common: the meeting's socket, its own capture, what it receives, and
// `window.member` for the harness. How it negotiates is the business of v1.js, v2.js and good.js.

import { AudioClock, monotonic, setMonotonicOffset } from './clock.js';
import { CanvasCamera, OscillatorMicrophone } from './capture.js';
import { Remote } from './remote.js';

const KEPT_LOG = 2000;

/** Reads the page's options from its address. */
export function readOptions() {
  const query = new URLSearchParams(location.search);
  const [width, height] = (query.get('size') ?? '640x360').split('x').map(Number);
  const [kind, frequency] = (query.get('mic') ?? 'tone:660').split(':');
  return {
    user: query.get('user'),
    meeting: query.get('meeting'),
    name: query.get('name') ?? 'Browser',
    camera: query.get('camera') ?? 'canvas',
    width,
    height,
    frameRate: Number(query.get('fps') ?? 15),
    microphone: { kind, frequency: Number(frequency ?? 660) },
    late: query.get('late') === '1',
    // Every n-th audio packet is thrown away before the decoder, so that it leans on in-band FEC.
    drop: Number(query.get('drop') ?? 0),
    query,
  };
}

/**
 * One connection to one other member.
 * @typedef {{user: string, pc: RTCPeerConnection, created: number}} Peer
 */

export class Member {
  constructor(options) {
    this.options = options;
    this.user = options.user;
    this.meeting = options.meeting;
    this.joined = false;
    this.joinSentAt = null;
    this.joinedAt = null;
    /** Newest connection to each user. @type {Map<string, Peer>} */
    this.peers = new Map();
    /** Connections that were replaced without being closed. @type {Peer[]} */
    this.abandoned = [];
    /** Newest main stream of each user. @type {Map<string, MediaStream>} */
    this.mainStreams = new Map();
    /** Measurements, which outlive a connection. @type {Map<string, Remote>} */
    this.remotes = new Map();
    this.screens = new Map();
    this.roster = new Map();
    this.log = [];
    this.errors = [];
    this.stream = null;
    this.screen = null;
    this.muted = false;
    this.videoOff = false;
  }

  // ---- life ---------------------------------------------------------------------------------

  /** Called by the harness once it has measured the clocks. */
  async begin(monotonicOffset) {
    setMonotonicOffset(monotonicOffset);
    this.audioContext = new AudioContext({ sampleRate: 48000, latencyHint: 'interactive' });
    await this.audioContext.audioWorklet.addModule('probe-worklet.js');
    await this.audioContext.resume();
    this.audioClock = new AudioClock(this.audioContext);
    this.audioClock.measureTap();
    this.connect();
  }

  connect() {
    const identity = { userId: this.user, meetingId: this.meeting };
    this.socket = io({
      query: { ...identity, name: this.options.name },
      auth: identity,
      transports: ['websocket', 'polling'],
      reconnection: true,
      reconnectionAttempts: 3,
      reconnectionDelay: 1000,
      reconnectionDelayMax: 3000,
      timeout: 10000,
      forceNew: true,
    });
    this.socket.onAny((event, payload) => this.note('in', event, payload));
    this.listen('connect', () => this.onConnect());
    this.listen('disconnect', (reason) => {
      this.joined = false;
      this.note('in', 'disconnect', { reason });
      if (reason === 'io server disconnect') this.socket.connect();
    });
    this.listen('meeting:joined', () => this.onJoined());
    this.listen('meeting:participants', ({ participants }) => {
      for (const each of participants) if (each.userId !== this.user) this.roster.set(each.userId, each);
    });
    this.listen('meeting:user-joined', ({ userId, userName }) => {
      if (userId === this.user) return;
      this.roster.set(userId, { ...this.roster.get(userId), userId, userName });
      this.onUserJoined(userId);
    });
    this.listen('meeting:user-left', ({ userId }) => {
      this.roster.delete(userId);
      this.onUserLeft(userId);
    });
    this.listen('media:user-muted', ({ userId, isMuted }) => {
      this.updateRoster(userId, { isMuted });
      this.onUserMuted(userId, isMuted);
    });
    this.listen('media:user-video-off', ({ userId, isVideoOff }) => {
      this.updateRoster(userId, { isVideoOff });
      this.onUserVideoOff(userId, isVideoOff);
    });
    this.listen('media:user-screen-share', ({ userId, isSharing }) => this.updateRoster(userId, { isSharing }));
    this.listenToSignaling();
  }

  listen(event, handler) {
    this.socket.on(event, (...args) => {
      Promise.resolve()
        .then(() => handler(...args))
        .catch((error) => this.fault(`${event}: ${error}`));
    });
  }

  emit(event, payload) {
    this.note('out', event, payload);
    this.socket.emit(event, payload);
  }

  join() {
    this.joinSentAt ??= monotonic();
    this.emit('meeting:join', { meetingId: this.meeting, userId: this.user });
  }

  onConnect() {
    this.join();
  }

  async onJoined() {
    if (this.joined) return;
    this.joined = true;
    this.joinedAt ??= monotonic();
    if (!this.options.late && !this.stream) await this.openMedia();
    if (this.stream) this.announce();
  }

  /** Starts the capture of a member that was started with `late`. */
  async startMedia() {
    await this.openMedia();
    this.announce();
  }

  async openMedia() {
    const { options } = this;
    const stream = new MediaStream();
    if (options.microphone.kind !== 'none') {
      this.microphone = new OscillatorMicrophone(this.audioClock, options.microphone);
      stream.addTrack(this.microphone.track);
    }
    if (options.camera === 'canvas') {
      this.camera = new CanvasCamera({ ...options, hue: parseInt(this.user.slice(0, 2), 16) });
      stream.addTrack(this.camera.track);
    }
    if (options.camera === 'fake') {
      const { width, height, frameRate } = options;
      const captured = await navigator.mediaDevices.getUserMedia({ video: { width, height, frameRate } });
      stream.addTrack(captured.getVideoTracks()[0]);
    }
    this.stream = stream;
  }

  leave() {
    this.emit('meeting:leave', { meetingId: this.meeting, userId: this.user });
    for (const user of [...this.peers.keys()]) this.onUserLeft(user);
    this.socket.disconnect();
  }

  // ---- own media ----------------------------------------------------------------------------

  setMuted(muted, { report = true } = {}) {
    this.muted = muted;
    for (const track of this.stream?.getAudioTracks() ?? []) track.enabled = !muted;
    if (report) this.reportMuted();
  }

  setVideoOff(off, { report = true } = {}) {
    this.videoOff = off;
    for (const track of this.stream?.getVideoTracks() ?? []) track.enabled = !off;
    if (report) this.reportVideoOff();
  }

  /** A picture of a shape of its own (4:3; browsers scale it), video only, in a stream of its own. */
  openScreen() {
    this.screen = new CanvasCamera({ width: 480, height: 360, frameRate: 5, hue: 60 });
    return this.screen;
  }

  closeScreen() {
    this.screen.stop();
    this.screen = null;
  }

  // ---- connections --------------------------------------------------------------------------

  /** Creates a connection that reports to this member; it replaces the user's entry. */
  newPeer(user, extra = {}) {
    const pc = new RTCPeerConnection({
      iceServers: [],
      iceCandidatePoolSize: 10,
      encodedInsertableStreams: this.options.drop > 0,
    });
    // Some applications open a channel for text beside sound and picture.
    if (this.options.query.get('channel') === '1') pc.createDataChannel('text');
    const peer = { user, pc, created: monotonic(), connectedAt: null, states: ['new'], ...extra };
    this.peers.set(user, peer);
    pc.addEventListener('connectionstatechange', () => {
      peer.states.push(pc.connectionState);
      if (pc.connectionState === 'connected') peer.connectedAt ??= monotonic();
      this.note('pc', pc.connectionState, { user });
      this.onConnectionState(peer, pc.connectionState);
    });
    pc.addEventListener('track', (event) => {
      if (event.track.kind === 'audio' && this.options.drop > 0) dropPackets(event.receiver, this.options.drop);
      try {
        this.onTrack(peer, event);
      } catch (error) {
        this.fault(`track: ${error}`);
      }
    });
    return peer;
  }

  addOwnTracks(peer) {
    for (const kind of ['audio', 'video']) {
      for (const track of this.stream.getTracks()) if (track.kind === kind) peer.pc.addTrack(track, this.stream);
    }
  }

  onTrack(peer, event) {
    const [stream] = event.streams;
    if (stream) this.playMain(peer.user, stream);
  }

  playMain(user, stream) {
    this.mainStreams.set(user, stream);
    if (!this.remotes.has(user)) this.remotes.set(user, new Remote(this.audioClock));
    this.remotes.get(user).play(stream);
  }

  playScreen(user, stream) {
    if (!this.screens.has(user)) this.screens.set(user, new Remote(this.audioClock));
    this.screens.get(user).play(stream);
  }

  closePeer(user) {
    const peer = this.peers.get(user);
    if (!peer) return;
    peer.pc.close();
    this.peers.delete(user);
  }

  onUserLeft(user) {
    this.closePeer(user);
    this.mainStreams.delete(user);
    this.remotes.get(user)?.close();
    this.remotes.delete(user);
    this.screens.get(user)?.close();
    this.screens.delete(user);
  }

  onUserJoined() {}

  onUserMuted() {}

  onUserVideoOff() {}

  onConnectionState() {}

  // ---- for the harness ----------------------------------------------------------------------

  updateRoster(user, change) {
    if (user !== this.user) this.roster.set(user, { ...this.roster.get(user), userId: user, ...change });
  }

  note(direction, event, payload) {
    const { offer, answer, candidate, fromUserId, targetUserId, userId, roomId: _room, ...rest } = payload ?? {};
    const other = fromUserId ?? targetUserId ?? userId;
    const detail = offer ? 'offer' : answer ? 'answer' : candidate ? candidate.candidate : JSON.stringify(rest).slice(0, 200);
    this.log.push(`${monotonic().toFixed(1)} ${direction} ${event} ${other ?? ''} ${detail}`);
    if (this.log.length > KEPT_LOG) this.log.shift();
  }

  fault(message) {
    this.errors.push(message);
    this.log.push(`${monotonic().toFixed(1)} FAULT ${message}`);
  }

  /** The state without statistics: cheap enough to be polled. */
  read() {
    const peers = {};
    for (const [user, { pc, created, connectedAt, states }] of this.peers) {
      peers[user] = {
        created,
        connectedAt,
        states,
        connectionState: pc.connectionState,
        iceConnectionState: pc.iceConnectionState,
        signalingState: pc.signalingState,
        remoteKinds: pc.getTransceivers().map((each) => `${each.mid}:${each.receiver.track.kind}:${each.currentDirection}`),
      };
    }
    const remotes = {};
    for (const [user, remote] of this.remotes) remotes[user] = remote.read();
    const screens = {};
    for (const [user, remote] of this.screens) screens[user] = remote.read();
    return {
      user: this.user,
      joined: this.joined,
      joinSentAt: this.joinSentAt,
      joinedAt: this.joinedAt,
      muted: this.muted,
      videoOff: this.videoOff,
      roster: Object.fromEntries(this.roster),
      abandoned: this.abandoned.map(({ user, pc }) => ({ user, connectionState: pc.connectionState })),
      peers,
      remotes,
      screens,
      errors: this.errors,
    };
  }

  /** Peaks of 10 ms windows heard from a user, as [time, peak], since `since` (CLOCK_MONOTONIC, ms). */
  soundSince(user, since) {
    return this.remotes.get(user)?.windows.filter(([time]) => time >= since) ?? [];
  }

  /** Strip readings of a user's picture, newest last. */
  readings(user) {
    return this.remotes.get(user)?.readings ?? [];
  }

  /** What the connection's statistics say (W3C webrtc-stats), one flat object per stream. */
  async stats(user) {
    const peer = this.peers.get(user);
    if (!peer) return null;
    const report = await peer.pc.getStats();
    const codec = (each) => report.get(each.codecId)?.mimeType ?? null;
    const found = {};
    report.forEach((each) => {
      if (each.type === 'inbound-rtp' || each.type === 'outbound-rtp') {
        const direction = each.type === 'inbound-rtp' ? 'in' : 'out';
        const key = `${direction}-${each.kind}-${each.mid}`;
        found[key] = { ...each, codec: codec(each), codecParameters: report.get(each.codecId)?.sdpFmtpLine ?? null };
      }
      if (each.type === 'remote-outbound-rtp') found[`reports-${each.kind}`] = each;
      if (each.type === 'candidate-pair' && each.nominated) {
        found.pair = { ...each, local: report.get(each.localCandidateId), remote: report.get(each.remoteCandidateId) };
      }
    });
    return found;
  }

  audioState() {
    const { audioContext: context } = this;
    return { state: context.state, outputLatency: context.outputLatency, tapDelay: this.audioClock.tapDelay };
  }
}

// Loses every n-th packet between the network and the decoder.
const dropping = new WeakSet();
function dropPackets(receiver, every) {
  if (dropping.has(receiver)) return;
  dropping.add(receiver);
  const { readable, writable } = receiver.createEncodedStreams();
  let count = 0;
  readable
    .pipeThrough(new TransformStream({
      transform(frame, controller) {
        count += 1;
        if (count % every !== 0) controller.enqueue(frame);
      },
    }))
    .pipeTo(writable);
}

/** Publishes the member; the harness then calls `begin`. */
export function publish(member) {
  window.member = member;
  window.addEventListener('unhandledrejection', (event) => member.fault(`unhandled: ${event.reason}`));
  document.title = `${member.options.name} ${member.user}`;
  // For a person who tries a page by hand; the harness begins when it has measured the clock.
  if (member.options.query.get('begin') === '1') member.begin(0);
}
