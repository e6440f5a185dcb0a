// One stay in a meeting: who is there, what they announce, what we announce, what a host orders.

import { Member } from './member.js';
import { Signaling } from './signaling.js';

const REFRESH = 45_000;
const ECHO_WAIT = 5000;
const ERRORS_KEPT = 50;

/** Our flags: what announces them, what comes back, and whose order that is if it is not our echo. */
const FLAGS = {
  muted: { send: 'media:toggle-mic', field: 'isMuted', closing: true, words: 'A host muted you.' },
  videoOff: { send: 'media:toggle-video', field: 'isVideoOff', closing: true, words: 'A host turned your camera off.' },
  sharing: { send: 'media:screen-share', field: 'isSharing', closing: false, words: 'A host stopped your screen share.' },
};

/** Events: `change` (anything to show), `notice` (detail: a sentence), `end` (detail: {code, message}). */
export class Meeting extends EventTarget {
  /**
   * @param {{userId: string, token: string, role: string, meetingId: string, iceServers?: RTCIceServer[]}} identity
   * @param {string} name
   * @param {import('./media.js').LocalMedia} media
   */
  constructor(identity, name, media) {
    super();
    this.identity = identity;
    this.role = identity.role ?? 'participant';
    this.media = media;
    /** @type {Map<string, Member>} */
    this.members = new Map();
    this.errors = [];
    this.everJoined = false;
    this.ended = false;
    /** Values we announced whose echo is still to come, with the time. */
    this.echoes = { muted: [], videoOff: [], sharing: [] };
    this.announced = {};
    this.detach = new AbortController();
    this.listenToMedia();
    this.signaling = new Signaling(identity, name, {
      event: (event, payload) => this.events[event]?.call(this, payload),
      joined: () => this.onJoined(),
      lost: () => this.changed(),
      refused: (code, message) => this.end(code, message),
      probe: () => this.sayState(),
      fault: (text) => this.fault(text),
    });
    this.refresh = setInterval(() => this.signaling.send('meeting:request-peers', {}), REFRESH);
  }

  get ownId() {
    return this.identity.userId;
  }

  get joined() {
    return this.signaling.joined;
  }

  changed() {
    this.dispatchEvent(new Event('change'));
  }

  notice(text) {
    this.dispatchEvent(new CustomEvent('notice', { detail: text }));
  }

  fault(text) {
    this.errors.push(text);
    if (this.errors.length > ERRORS_KEPT) this.errors.shift();
    console.warn(text);
  }

  // ---- joining, losing, leaving -------------------------------------------------------------

  onJoined() {
    this.everJoined = true;
    for (const pending of Object.values(this.echoes)) pending.length = 0;
    this.sayState();
    this.signaling.send('media:ready', { roomId: this.identity.meetingId, userId: this.ownId });
    this.signaling.send('meeting:request-peers', {});
    for (const member of this.members.values()) {
      member.connection?.offerIfDue();
      member.connection?.flushOutgoing();
      if (!member.leaving) member.recovery?.resume();
    }
    this.changed();
  }


  leave() {
    this.signaling.leave();
    this.end('left');
  }

  end(code, message) {
    if (this.ended) return;
    this.ended = true;
    this.detach.abort();
    clearInterval(this.refresh);
    this.signaling.end();
    for (const member of this.members.values()) member.remove();
    this.members.clear();
    this.dispatchEvent(new CustomEvent('end', { detail: { code, message } }));
  }

  // ---- own state ----------------------------------------------------------------------------

  listenToMedia() {
    const { media } = this;
    const on = (event, handler) => media.addEventListener(event, handler, { signal: this.detach.signal });
    const each = (act) => () => {
      for (const { connection } of this.members.values()) if (connection) act(connection);
    };
    on('audio', each((connection) => connection.refreshAudio()));
    on('camera', each((connection) => connection.refreshCamera()));
    on('screen', each((connection) => connection.setScreen(media.screenStream)));
    // After `screen`: the track is there before the announcement.
    on('state', () => {
      for (const flag of Object.keys(FLAGS)) if (this.announced[flag] !== media[flag]) this.say(flag);
      this.changed();
    });
  }

  /** All flags as they are, each once and in the order that peers expect. */
  sayState() {
    for (const flag of Object.keys(FLAGS)) this.say(flag);
  }

  say(flag) {
    const value = this.media[flag];
    this.announced[flag] = value;
    const { send, field } = FLAGS[flag];
    if (this.signaling.send(send, { [field]: value })) this.echoes[flag].push({ value, at: performance.now() });
  }

  // A host's order and our own echo are the same event. What we said and did not hear yet is an echo.
  onOwnFlag(flag, value) {
    const pending = this.echoes[flag];
    while (pending.length > 0 && performance.now() - pending[0].at > ECHO_WAIT) pending.shift();
    const at = pending.findIndex((each) => each.value === value);
    if (at >= 0) {
      pending.splice(0, at + 1);
      // An order overtook our word, so the server now has the older of the two.
      if (pending.length === 0 && value !== this.media[flag]) this.say(flag);
      return;
    }
    if (value === this.media[flag]) return;
    const { closing, words } = FLAGS[flag];
    if (value !== closing) {
      // Nobody far away opens anything here. The truth once, so that others do not believe otherwise.
      this.say(flag);
      return;
    }
    // Not to be announced again: the server knows it, it told us.
    this.announced[flag] = value;
    this.close(flag);
    this.notice(words);
  }

  close(flag) {
    if (flag === 'muted') this.media.setMuted(true);
    else if (flag === 'videoOff') this.media.setVideoOff(true);
    else this.media.unshare();
  }

  // ---- members ------------------------------------------------------------------------------

  /** The member of an id, made if it is new. */
  admit(id, { userName, username, name, role, isMuted, isVideoOff } = {}) {
    if (!id || id === this.ownId) return null;
    let member = this.members.get(id);
    if (!member) {
      member = new Member(id, {
        ownId: this.ownId,
        iceServers: this.identity.iceServers ?? [],
        media: this.media,
        ready: () => this.joined,
        send: (kind, content) => this.signaling.send(`media:${kind}`, {
          roomId: this.identity.meetingId,
          targetUserId: id,
          ...content,
        }),
        fault: (text) => this.fault(text),
        changed: () => this.changed(),
        gone: () => this.remove(id),
      });
      this.members.set(id, member);
    }
    const called = userName ?? username ?? name;
    if (typeof called === 'string' && called.trim()) member.name = called.trim();
    if (typeof role === 'string') member.role = role;
    if (typeof isMuted === 'boolean') member.muted = isMuted;
    if (typeof isVideoOff === 'boolean') member.videoOff = isVideoOff;
    return member;
  }

  remove(id) {
    this.members.get(id)?.remove();
    this.members.delete(id);
    this.changed();
  }

  /** Signaling is taken from members of this meeting only: the server relays without looking. */
  sender({ fromUserId, roomId }) {
    if (roomId !== undefined && roomId !== null && roomId !== this.identity.meetingId) return null;
    return this.members.get(fromUserId) ?? null;
  }

  // ---- a host's orders ----------------------------------------------------------------------

  order(event, targetUserId, more = {}) {
    this.signaling.send(event, { targetUserId, ...more });
  }

  // ---- events -------------------------------------------------------------------------------

  events = {
    'meeting:participants'({ participants = [] }) {
      const present = new Set();
      for (const row of participants) {
        present.add(row.userId);
        if (row.userId === this.ownId) this.role = row.role ?? this.role;
        else this.admit(row.userId, row);
      }
      for (const member of this.members.values()) if (!present.has(member.id)) member.onLeft();
      this.changed();
    },
    'meeting:user-joined'(row) {
      this.admit(row.userId, row)?.onPresent();
      this.changed();
    },
    'meeting:user-left'({ userId }) {
      if (userId !== this.ownId) {
        this.members.get(userId)?.onLeft();
      } else if (this.joined) {
        // The server noticed late that an old connection of ours had died, and struck us off with it.
        this.signaling.rejoin();
        this.changed();
      }
    },
    'media:peer-ready'({ userId }) {
      this.admit(userId)?.onReady();
    },
    'media:offer'(payload) {
      if (payload.offer?.sdp) this.sender(payload)?.onOffer(payload.offer);
    },
    'media:answer'(payload) {
      if (payload.answer?.sdp) this.sender(payload)?.onAnswer(payload.answer);
    },
    'media:ice-candidate'(payload) {
      if (payload.candidate?.candidate) this.sender(payload)?.onCandidate(payload.candidate);
    },
    'media:user-muted'({ userId, isMuted }) {
      this.onFlag('muted', userId, isMuted);
    },
    'media:user-video-off'({ userId, isVideoOff }) {
      this.onFlag('videoOff', userId, isVideoOff);
    },
    'media:user-screen-share'({ userId, isSharing }) {
      this.onFlag('sharing', userId, isSharing);
    },
    'user:kicked'({ userId, reason }) {
      this.onExpelled(userId, 'kicked', reason);
    },
    'user:blocked'({ userId, reason }) {
      this.onExpelled(userId, 'blocked', reason);
    },
  };

  onFlag(flag, id, value) {
    if (typeof value !== 'boolean') return;
    if (id === this.ownId) {
      this.onOwnFlag(flag, value);
      return;
    }
    const member = this.members.get(id);
    if (!member) return;
    if (flag === 'sharing') member.onShareAnnounced(value);
    else member[flag] = value;
    this.changed();
  }

  onExpelled(id, code, reason) {
    if (id !== this.ownId) {
      if (this.members.has(id)) this.remove(id);
      return;
    }
    // The server keeps the socket of someone it expelled, so going is up to us.
    this.signaling.leave();
    this.end(code, reason);
  }

  // ---- to be shown --------------------------------------------------------------------------

  get banner() {
    if (!this.joined) return this.everJoined ? 'Reconnecting to server' : '';
    const count = [...this.members.values()].filter((member) => member.badge === 'Reconnecting').length;
    return count > 0 ? `Reconnecting to ${count} peer(s)` : '';
  }

  get connected() {
    return [...this.members.values()].filter((member) => member.connected).length + 1;
  }
}
