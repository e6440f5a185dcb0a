// The socket: connects, joins, comes back for ever. What the events mean is the business of meeting.js.

const CONNECT_WAIT = 5000;
const JOIN_WAIT = 10_000;
const PROBE_WAIT = 3000;
const EAGER_FOR = 120_000;
const SLOW_RETRY = 30_000;
const RATE_PAUSE = 5000;

/** Refusals after which the page must not come back by itself. */
const FINAL = new Set(['unauthorized', 'replaced', 'duplicate', 'full', 'kicked', 'blocked']);
// The application's server knows no codes.
const CODE_OF_MESSAGE = { 'Authentication required': 'unauthorized', 'Not authorized to join this meeting': 'unauthorized' };

export class Signaling {
  /**
   * @param {{userId: string, token: string, meetingId: string}} identity
   * @param {string} name
   * @param {{event: (name: string, payload: object) => void, joined: () => void, lost: () => void,
   *   refused: (code: string, message: string) => void, probe: () => void, fault: (text: string) => void}} handlers
   */
  constructor(identity, name, handlers) {
    this.identity = identity;
    this.name = name;
    this.handlers = handlers;
    this.joined = false;
    this.ended = false;
    this.attempts = 0;
    this.lostAt = performance.now();
    this.onOnline = () => this.hurry();
    window.addEventListener('online', this.onOnline);
    this.open();
  }

  open() {
    const { userId, meetingId, token } = this.identity;
    this.socket = window.io({
      query: { userId, meetingId },
      auth: { token, userId, meetingId, name: this.name },
      transports: ['websocket', 'polling'],
      // The first request shows the token too, so that the hub lets it in before those who show none.
      ...(token && {
        protocols: ['huddled-token', token],
        transportOptions: { polling: { extraHeaders: { Authorization: `Bearer ${token}` } } },
      }),
      // Without this the client never gets as far as polling where a proxy breaks WebSocket.
      tryAllTransports: true,
      // The client's own schedule ends or grows; ours must do neither.
      reconnection: false,
      timeout: CONNECT_WAIT,
      forceNew: true,
    });
    this.socket.on('connect', () => this.join());
    this.socket.on('disconnect', () => this.onLost());
    this.socket.on('connect_error', (error) => {
      const code = error.data?.code ?? CODE_OF_MESSAGE[error.message];
      if (code) this.onRefusal(code, error.message);
      this.onLost();
    });
    this.socket.on('error', (refusal) => {
      this.onRefusal(refusal?.code ?? CODE_OF_MESSAGE[refusal?.message], refusal?.message);
    });
    this.socket.on('meeting:joined', () => this.onJoined());
    this.socket.onAny((event, payload) => {
      try {
        this.handlers.event(event, payload ?? {});
      } catch (error) {
        this.handlers.fault(`${event}: ${error}`);
      }
    });
  }

  join() {
    const { meetingId, userId } = this.identity;
    this.socket.emit('meeting:join', { meetingId, userId });
    clearTimeout(this.joinTimer);
    this.joinTimer = setTimeout(() => this.drop(), JOIN_WAIT);
  }

  onJoined() {
    if (this.joined || this.ended) return;
    clearTimeout(this.joinTimer);
    this.joined = true;
    this.attempts = 0;
    this.handlers.joined();
  }

  onRefusal(code, message) {
    if (code === 'rate') this.notBefore = performance.now() + RATE_PAUSE;
    if (!FINAL.has(code)) {
      this.handlers.fault(`server: ${code ?? ''} ${message ?? ''}`.trim());
      return;
    }
    this.end();
    this.handlers.refused(code, message);
  }

  onLost() {
    clearTimeout(this.joinTimer);
    if (this.ended) return;
    if (this.joined) {
      this.joined = false;
      this.lostAt = performance.now();
      this.handlers.lost();
    }
    if (this.retryTimer) return;
    const wait = Math.max(this.nextDelay(), (this.notBefore ?? 0) - performance.now());
    this.attempts += 1;
    this.retryTimer = setTimeout(() => this.retry(), wait);
  }

  nextDelay() {
    if (this.attempts === 0) return 200 + Math.random() * 600;
    if (performance.now() - this.lostAt < EAGER_FOR) return 1000 + Math.random() * 2000;
    return SLOW_RETRY * (0.8 + Math.random() * 0.4);
  }

  retry() {
    clearTimeout(this.retryTimer);
    this.retryTimer = null;
    if (!this.ended) this.socket.connect();
  }

  /** Gives up a connection that does not work, and starts over. */
  drop() {
    this.socket.disconnect();
    this.onLost();
  }

  /** The network is back: do not wait for a timer, and do not trust a connection that may be half open. */
  hurry() {
    if (this.ended) return;
    if (this.joined) {
      let heard = false;
      this.socket.io.engine?.once('packet', () => { heard = true; });
      // The probe repeats our state, which the server echoes.
      this.handlers.probe();
      setTimeout(() => {
        if (!heard && this.joined) this.drop();
      }, PROBE_WAIT);
      return;
    }
    // An attempt begun before may hang until its own timeout.
    this.socket.disconnect();
    this.attempts = 0;
    this.lostAt = performance.now();
    this.retry();
  }

  /** Sends if the server would take it: before the join it drops everything without a word. */
  send(event, payload) {
    if (!this.joined || !this.socket.connected) return false;
    this.socket.emit(event, payload);
    return true;
  }

  /** Leaves and joins again on the same socket: the cure when the server thinks we are gone. */
  rejoin() {
    this.emitLeave();
    // The leave's own echo must not be taken for another loss.
    this.joined = false;
    this.join();
  }

  emitLeave() {
    const { meetingId, userId } = this.identity;
    if (this.socket.connected) this.socket.emit('meeting:leave', { meetingId, userId });
  }

  leave() {
    this.emitLeave();
    this.end();
  }

  end() {
    if (this.ended) return;
    this.ended = true;
    this.joined = false;
    clearTimeout(this.joinTimer);
    clearTimeout(this.retryTimer);
    window.removeEventListener('online', this.onOnline);
    this.socket.disconnect();
  }
}
