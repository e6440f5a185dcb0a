// The page's course: start screen, meeting, end; and back again.

import { joinMeeting, Refusal } from './api.js';
import { Controls } from './controls.js';
import { cleanName, readLink, readPasted, remembered } from './link.js';
import { LocalMedia } from './media.js';
import { Meeting } from './meeting.js';
import { publish } from './probe.js';
import { Stage } from './stage.js';
import { StartScreen } from './start.js';

// A token that was just taken over REST and is refused by the socket will not get better by trying.
const REJOIN_PAUSE = 15_000;

const element = (id) => document.getElementById(id);

class Page {
  state = 'start';

  meeting = null;

  constructor() {
    this.link = readLink(location.hash);
    this.media = new LocalMedia();
    this.controls = new Controls(this.media, { leave: () => this.leave() });
    this.stage = new Stage({ media: this.media, onBlocked: () => this.offerSound() });
    this.start = new StartScreen(this.media, {
      name: cleanName(this.link.name) || remembered.name(),
      join: (name) => this.join(name),
      cancel: () => this.cancel(),
    });
    element('rejoin').addEventListener('click', () => this.rejoin());
    element('link-form').addEventListener('submit', (event) => this.openLink(event));
    // Another invitation in the same tab: the simplest clean start is a new page.
    window.addEventListener('hashchange', () => location.reload());
    window.addEventListener('pagehide', () => this.onHidden());
    window.addEventListener('pageshow', (event) => event.persisted && this.onRestored());
    if (this.link.meeting) {
      this.show('start');
      this.start.open();
    } else {
      element('start-card').hidden = true;
      element('link-form').hidden = false;
      this.show('start');
    }
  }

  show(state) {
    this.state = state;
    for (const screen of ['start', 'meeting', 'ended']) element(screen).hidden = screen !== state;
    document.body.dataset.state = state;
    if (state !== 'meeting') document.title = 'huddled';
  }

  openLink(event) {
    event.preventDefault();
    const { fragment, problem } = readPasted(element('link').value);
    element('link-status').textContent = problem ?? '';
    if (fragment) location.hash = fragment;
  }

  // ---- joining ------------------------------------------------------------------------------

  /** Rejects with a Refusal, or when it was cancelled. */
  async enter(onWait) {
    this.joining?.abort();
    this.joining = new AbortController();
    const { signal } = this.joining;
    this.enteredAt = performance.now();
    const identity = await joinMeeting(this.link, { signal, onWait });
    if (signal.aborted) throw signal.reason;
    this.begin(identity);
  }

  begin(identity) {
    const meeting = new Meeting(identity, this.name, this.media);
    this.meeting = meeting;
    meeting.addEventListener('change', () => this.scheduleRender());
    meeting.addEventListener('notice', ({ detail }) => this.controls.notify(detail));
    meeting.addEventListener('end', ({ detail }) => this.onEnd(meeting, detail));
    this.show('meeting');
    this.stage.start(meeting, this.name);
    this.render();
  }

  async join(name) {
    this.name = cleanName(name) || 'Guest';
    remembered.setName(cleanName(name));
    // Inside the press: later the browser would not let it play.
    if (!this.media.microphone) this.media.silence();
    try {
      await this.enter((text) => this.start.say(text));
    } catch (error) {
      this.start.say(error instanceof Refusal ? error.message : '');
      if (!(error instanceof Refusal) && error.name !== 'AbortError') throw error;
    } finally {
      this.start.idle();
    }
  }

  cancel() {
    this.joining?.abort();
  }

  async rejoin() {
    const say = (text) => { element('ended-status').textContent = text; };
    element('rejoin').disabled = true;
    say('');
    try {
      await this.media.open();
      await this.enter(say);
    } catch (error) {
      if (error instanceof Refusal) this.finish({ title: 'You cannot join now', text: error.message, again: error.again });
      else if (error.name !== 'AbortError') throw error;
    } finally {
      element('rejoin').disabled = false;
    }
  }

  // ---- in the meeting -----------------------------------------------------------------------

  /** Many things change at once; one drawing is enough. Not by animation frames: a hidden page gets none. */
  scheduleRender() {
    if (this.drawing) return;
    this.drawing = true;
    setTimeout(() => {
      this.drawing = false;
      this.render();
    });
  }

  render() {
    if (!this.meeting) return;
    this.stage.render();
    this.controls.render(this.meeting);
    document.title = `huddled (${this.meeting.connected})`;
  }

  offerSound() {
    this.controls.notify('The browser holds back the sound.', {
      label: 'Play sound',
      act: () => {
        for (const tile of this.stage.tiles.values()) tile.play();
      },
    });
  }

  // ---- ending -------------------------------------------------------------------------------

  leave() {
    this.meeting?.leave();
  }

  onEnd(meeting, { code, message }) {
    if (meeting !== this.meeting) return;
    this.lastMeeting = meeting;
    this.meeting = null;
    this.stage.clear();
    if (code === 'hidden') return;
    // The hub may have forgotten us while the link is still good: join again over REST, keeping the devices open.
    if (code === 'unauthorized' && performance.now() - this.enteredAt > REJOIN_PAUSE) {
      this.finish({ title: 'Joining again …', text: 'The server asked for a new join.', again: true, keep: true });
      this.rejoin();
      return;
    }
    const refusal = new Refusal(code, message);
    const endings = {
      left: { title: 'You left the meeting', text: 'See you next time.', again: true },
      kicked: { title: 'You were removed from the meeting', text: message ? `The host’s reason: ${message}` : 'A host removed you. You may join again.', again: true },
      blocked: { title: 'You were blocked from the meeting', text: message ? `The host’s reason: ${message}` : 'A host blocked you, so you cannot join it again.', again: false },
      replaced: { title: 'You joined somewhere else', text: refusal.message, again: true, label: 'Join here again' },
    };
    this.finish(endings[code] ?? { title: 'You are not in the meeting any more', text: refusal.message, again: refusal.again });
  }

  finish({ title, text, again, label = 'Join again', keep = false }) {
    if (!keep) this.media.close();
    element('ended-title').textContent = title;
    element('ended-text').textContent = text;
    element('ended-status').textContent = '';
    element('rejoin').textContent = label;
    element('rejoin').hidden = !again;
    this.show('ended');
    element('ended-title').focus();
  }

  // A page that goes says so: otherwise its tile would stay with the others until the server misses it. A page that the
  // browser keeps to show it again comes back by itself.
  onHidden() {
    this.joining?.abort();
    this.wasHere = Boolean(this.meeting);
    this.meeting?.signaling.leave();
    this.meeting?.end('hidden');
    this.media.close();
  }

  onRestored() {
    if (!this.wasHere) {
      if (this.state === 'start' && this.link.meeting) this.start.open();
      return;
    }
    this.finish({ title: 'Joining again …', text: 'You came back to this page.', again: true, keep: true });
    this.rejoin();
  }
}

const page = new Page();
publish(page);
