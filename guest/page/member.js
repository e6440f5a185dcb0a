// One other member: the connection to it, its recovery, and what comes from it.

import { Connection, EarlyCandidates, Settled } from './connection.js';
import { Recovery } from './recovery.js';

const LIVENESS_STEP = 500;
const LIVENESS_WAIT = 1500;
const LINGER = 5000;
const SHARE_WAIT = 2000;

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class Member {
  /**
   * @param {string} id
   * @param {{ownId: string, iceServers: RTCIceServer[], media: object, ready: () => boolean, fault: (text: string) => void,
   *   send: (kind: string, content: object) => boolean, changed: () => void, gone: () => void}} context
   */
  constructor(id, context) {
    this.id = id;
    this.context = context;
    this.name = 'Guest';
    this.role = 'participant';
    this.muted = false;
    this.videoOff = false;
    /** As announced; null until anything was. @type {boolean | null} */
    this.announcedShare = null;
    this.main = null;
    this.share = null;
    this.connection = null;
    this.recovery = null;
    this.early = new EarlyCandidates();
    this.settled = new Settled();
    this.tasks = Promise.resolve();
    /** How many connections there have been. */
    this.connections = 0;
    this.removed = false;
  }

  /** One thing at a time: messages of a member are handled in their order, and never while we make an offer. */
  enqueue(task) {
    this.tasks = this.tasks.then(async () => {
      const { connection } = this;
      try {
        if (!this.removed) await task();
      } catch (error) {
        // A connection that was replaced meanwhile rejects whatever was under way.
        if (!connection?.closed) this.fault(error);
      }
    });
  }

  fault(error) {
    this.context.fault(`${this.id}: ${error}`);
  }

  // ---- connection ---------------------------------------------------------------------------

  get polite() {
    return this.context.ownId > this.id;
  }

  get badge() {
    return this.recovery?.badge ?? 'Connecting';
  }

  get connected() {
    return this.connection?.connected ?? false;
  }

  connect({ prompt = false } = {}) {
    this.connection?.close();
    this.main = null;
    this.setShare(null);
    const { iceServers, media, ready, send } = this.context;
    const connection = new Connection({
      polite: this.polite,
      prompt,
      iceServers,
      media,
      ready,
      send,
      early: this.early,
      settled: this.settled,
      enqueue: (task) => this.enqueue(task),
      fault: (error) => this.fault(error),
      state: () => this.onState(connection),
      track: (event) => this.onTrack(connection, event),
      foreign: (offer) => this.onForeign(offer),
    });
    this.connection = connection;
    this.connections += 1;
    this.recovery ??= new Recovery({
      canAct: this.context.ready,
      restart: () => this.connection.restartIce(),
      rebuild: () => this.connect({ prompt: true }),
      changed: this.context.changed,
    });
    this.context.changed();
  }

  onState(connection) {
    if (connection !== this.connection) return;
    this.recovery.onState(connection.pc.connectionState);
    this.context.changed();
  }

  // Ours leads nowhere, usually because the peer has a new one.
  onForeign(offer) {
    this.connect({ prompt: !offer });
    this.recovery.onReplaced();
    if (offer) this.onOffer(offer);
  }

  /** The server says the member is there: perhaps for the first time, perhaps again. */
  onPresent() {
    this.leaving = false;
    if (!this.connection) this.connect();
    else if (this.connected) this.verify();
  }

  /** The member itself says it is ready. */
  onReady() {
    const fresh = !this.connection;
    this.onPresent();
    if (fresh || this.connected) return;
    this.connection.repeatOffer();
    this.recovery.onReady();
  }

  /** A member that came back may have forgotten a connection that we still take for alive. */
  async verify() {
    const { connection } = this;
    if (this.verifying) return;
    this.verifying = true;
    try {
      if (await this.receives(connection, LIVENESS_WAIT)) return;
    } finally {
      this.verifying = false;
    }
    if (connection !== this.connection || !connection.connected || !this.context.ready() || this.leaving) return;
    this.connect({ prompt: true });
    this.recovery.onReplaced();
  }

  /** Whether packets arrive within a time. */
  async receives(connection, within) {
    const before = await connection.packets();
    for (let waited = 0; waited < within && !connection.closed; waited += LIVENESS_STEP) {
      await sleep(LIVENESS_STEP);
      if (!connection.closed && (await connection.packets()) > before) return true;
    }
    return false;
  }

  /**
   * The server says the member left. Perhaps only its signaling dropped: as long as packets come it keeps its place,
   * but not for long.
   */
  async onLeft() {
    const { connection } = this;
    if (this.leaving) return;
    this.leaving = true;
    const deadline = performance.now() + LINGER;
    while (this.leaving && connection?.connected && performance.now() < deadline) {
      if (!(await this.receives(connection, LIVENESS_STEP))) break;
    }
    if (this.leaving && !this.removed) this.context.gone();
  }

  remove() {
    this.removed = true;
    this.recovery?.stop();
    clearTimeout(this.pullTimer);
    this.connection?.close();
    this.main = null;
    this.setShare(null);
  }

  // ---- signaling ----------------------------------------------------------------------------

  onOffer(offer) {
    if (!this.connection) this.connect();
    this.enqueue(async () => {
      const { connection } = this;
      if ((await connection.acceptOffer(offer)) && connection === this.connection) this.recovery.onOffer();
    });
  }

  onAnswer(answer) {
    this.enqueue(() => this.connection?.acceptAnswer(answer));
  }

  onCandidate(candidate) {
    this.enqueue(() => (this.connection ? this.connection.acceptCandidate(candidate) : this.early.add(candidate)));
  }

  // ---- what comes from it -------------------------------------------------------------------

  // Nothing on the wire says which stream is which: the main stream has the sound and comes first, and a further
  // stream of pictures alone is a screen.
  onTrack(connection, { track, streams }) {
    if (connection !== this.connection) return;
    const stream = streams[0] ?? this.main ?? new MediaStream([track]);
    if (streams.length === 0) stream.addTrack(track);
    const isScreen = this.main && stream.id !== this.main.id && stream.getAudioTracks().length === 0;
    if (isScreen) {
      // The announcement may come before or after; what was said of an earlier share does not count.
      if (this.announcedShare === false) this.announcedShare = null;
      this.setShare(stream);
      track.addEventListener('mute', () => this.context.changed());
      track.addEventListener('unmute', () => this.context.changed());
      stream.addEventListener('removetrack', () => {
        if (this.share === stream && stream.getTracks().length === 0) this.setShare(null);
      });
    } else {
      this.main = stream;
    }
    this.context.changed();
  }

  setShare(stream) {
    this.share = stream;
    this.context.changed();
  }

  /** The shared screen to show, or null: announced as ended it is over, whatever the m-line says. */
  get shownShare() {
    if (!this.share || this.announcedShare === false) return null;
    const flows = this.share.getVideoTracks().some((track) => !track.muted);
    return flows || this.announcedShare ? this.share : null;
  }

  onShareAnnounced(sharing) {
    this.announcedShare = sharing;
    clearTimeout(this.pullTimer);
    // Some browsers with the smaller id announce a share and then wait for an offer that has room for it.
    if (sharing && this.polite) {
      this.pullTimer = setTimeout(() => {
        if (!this.share && this.connected) this.connection.pullScreen();
      }, SHARE_WAIT);
    }
    this.context.changed();
  }
}
