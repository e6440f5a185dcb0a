// When a connection to a member is given up, and what is tried then. Decides only; acts through its handlers.
//
//   first ---10 s---> wait
//   connected --disconnected--> suspect --3 s--> restart --4 s--> wait --1, 2, 4 s--> attempt --6 s--> wait ... failed
//   failed: an attempt every 30 s; back to `connected` from anywhere.

const SUSPICION = 3000;
const FIRST_WAIT = 10_000;
const RESTART_WAIT = 4000;
const ATTEMPT_WAIT = 6000;
const DELAYS = [1000, 2000, 4000];
const SLOW = 30_000;

export class Recovery {
  /**
   * @param {{canAct: () => boolean, restart: () => void, rebuild: () => void, changed: () => void}} handlers
   *   `canAct`: the socket is there; without it nothing is torn down, because nothing could be rebuilt
   */
  constructor(handlers) {
    this.handlers = handlers;
    this.phase = 'first';
    this.everConnected = false;
    this.attempts = 0;
    this.arm(FIRST_WAIT, () => this.next());
  }

  get badge() {
    if (this.phase === 'connected') return '';
    if (this.phase === 'failed') return 'Failed';
    return this.everConnected ? 'Reconnecting' : 'Connecting';
  }

  onState(state) {
    if (state === 'connected') {
      this.attempts = 0;
      this.everConnected = true;
      clearTimeout(this.timer);
      this.enter('connected');
    } else if (state === 'disconnected' && this.phase === 'connected') {
      this.enter('suspect');
      this.arm(SUSPICION, () => this.restart());
    } else if (state === 'failed') {
      if (this.phase === 'connected' || this.phase === 'suspect') this.act(() => this.restart());
      else if (['first', 'restart', 'attempt'].includes(this.phase)) this.act(() => this.next());
    }
  }

  /** The peer made an offer that we answered: let that have its chance before ours. */
  onOffer() {
    if (this.phase === 'connected' || this.phase === 'first') return;
    if (this.phase === 'failed') this.attempts = 0;
    this.startAttempt();
  }

  /** The peer says it is ready, so it is there after all. */
  onReady() {
    if (this.phase !== 'failed' && this.phase !== 'wait') return;
    this.attempts = 0;
    this.rebuild();
  }

  /** The connection was replaced for a reason of its own. */
  onReplaced() {
    if (this.phase !== 'first') this.startAttempt();
  }

  /** The socket is back, so others can hear us again. */
  resume() {
    if (this.phase === 'connected') return;
    this.attempts = 0;
    this.rebuild();
  }

  stop() {
    clearTimeout(this.timer);
    this.stopped = true;
  }

  // ---- steps --------------------------------------------------------------------------------

  restart() {
    this.enter('restart');
    this.handlers.restart();
    this.arm(RESTART_WAIT, () => this.next());
  }

  next() {
    if (this.attempts >= DELAYS.length) {
      this.enter('failed');
      this.armSlow();
      return;
    }
    const delay = DELAYS[this.attempts];
    this.attempts += 1;
    this.enter('wait');
    this.arm(delay, () => this.rebuild());
  }

  rebuild() {
    this.startAttempt();
    this.handlers.rebuild();
  }

  startAttempt() {
    this.enter('attempt');
    this.arm(ATTEMPT_WAIT, () => this.next());
  }

  // Many peers that failed together shall not come back in step.
  armSlow() {
    this.arm(SLOW * (0.8 + Math.random() * 0.4), () => {
      this.armSlow();
      this.handlers.rebuild();
    });
  }

  enter(phase) {
    this.phase = phase;
    this.handlers.changed();
  }

  arm(milliseconds, step) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.act(step), milliseconds);
  }

  // `resume` starts afresh, so what was postponed need not be kept.
  act(step) {
    if (this.stopped || !this.handlers.canAct()) return;
    step();
  }
}
