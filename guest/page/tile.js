// One tile: a picture or initials, a name, what the member announced, the state of the connection.

const SVG = 'http://www.w3.org/2000/svg';
// Longer than any pause of a picture that goes on.
const STALLED_AFTER = 4000;

export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

function mark(name, label) {
  const element = make('span', `mark ${name}`);
  element.setAttribute('role', 'img');
  element.setAttribute('aria-label', label);
  element.title = label;
  element.append(icon(name));
  return element;
}

// As people see them: a family is one letter, and so is an accented one.
function lettersOf(word) {
  if (!Intl.Segmenter) return [...word];
  return Array.from(new Intl.Segmenter().segment(word), ({ segment }) => segment);
}

export function initialsOf(name) {
  const words = name.split(/[\s_-]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)].map((word) => lettersOf(word)[0]) : lettersOf(words[0] ?? '?').slice(0, 2);
  return letters.join('').toUpperCase();
}

function hueOf(text) {
  let sum = 0;
  for (const letter of text) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

export class Tile {
  /** @param {{id: string, kind: 'own' | 'member' | 'share', onBlocked: () => void}} options */
  constructor({ id, kind, onBlocked }) {
    this.kind = kind;
    this.onBlocked = onBlocked;
    this.frames = 0;
    this.counted = 0;
    this.lastFrameAt = 0;
    this.root = make('article', `tile ${kind}`);
    if (kind === 'member') this.root.dataset.user = id;
    if (kind === 'share') this.root.dataset.share = id;
    if (kind === 'own') this.root.id = 'own';
    // Through the object model, because the page's policy forbids style attributes.
    this.root.style.setProperty('--hue', hueOf(id));
    this.video = document.createElement('video');
    this.video.autoplay = true;
    this.video.playsInline = true;
    // What we hear of a member comes with its main stream; ourselves and screens we do not hear.
    this.video.muted = kind !== 'member';
    this.video.addEventListener('resize', () => {
      this.root.classList.toggle('portrait', this.video.videoHeight > this.video.videoWidth);
    });
    this.initials = make('div', 'initials');
    this.initials.setAttribute('aria-hidden', 'true');
    this.badge = make('span', 'badge');
    this.badge.hidden = true;
    this.name = make('span', 'name');
    // A right-to-left name does not turn the text around it.
    this.name.dir = 'auto';
    this.marks = {
      muted: mark('mic-off', 'Muted'),
      videoOff: mark('camera-off', 'Camera off'),
      sharing: mark('share', 'Sharing a screen'),
    };
    const caption = make('div', 'caption');
    caption.append(this.name, ...Object.values(this.marks));
    this.root.append(this.video, this.initials, this.badge, caption);
  }

  setStream(stream) {
    if (this.video.srcObject === stream) return;
    this.video.srcObject = stream;
    this.counted = 0;
    if (stream) this.play();
  }

  play() {
    this.video.play().catch((error) => {
      if (error.name === 'NotAllowedError') this.onBlocked();
    });
  }

  setSpeaker(device) {
    if (this.kind === 'member') this.video.setSinkId?.(device ?? '').catch(() => {});
  }

  /** @param {{name: string, label?: string, badge?: string, muted?: boolean, videoOff?: boolean, sharing?: boolean, picture: boolean}} state */
  update({ name, label = name, badge = '', muted = false, videoOff = false, sharing = false, picture }) {
    if (this.name.textContent !== label) this.name.textContent = label;
    this.initials.textContent = initialsOf(name);
    if (this.badge.textContent !== badge) this.badge.textContent = badge;
    this.badge.hidden = !badge;
    this.badge.dataset.badge = badge;
    this.marks.muted.hidden = !muted;
    this.marks.videoOff.hidden = !videoOff;
    this.marks.sharing.hidden = !sharing;
    this.wanted = picture && !videoOff;
    this.showPicture();
  }

  /** Counts frames; called a few times a second. */
  measure(now) {
    const total = this.video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
    // The element starts again at zero with each stream.
    if (total > this.counted) {
      this.frames += total - this.counted;
      this.lastFrameAt = now;
    }
    this.counted = total;
    this.showPicture(now);
  }

  // A picture that stopped would be mistaken for a live one. While the connection is being repaired it stays, dimmed
  // and with its badge; a hidden page counts no frames.
  showPicture(now = performance.now()) {
    const stalled = this.kind === 'member' && !document.hidden && this.badge.hidden && now - this.lastFrameAt > STALLED_AFTER;
    const has = this.video.videoWidth > 0 && this.frames > 0;
    this.root.classList.toggle('pictured', this.wanted && has && !stalled);
  }

  read() {
    return { width: this.video.videoWidth, height: this.video.videoHeight, frames: this.frames };
  }

  remove() {
    this.video.srcObject = null;
    this.root.remove();
  }
}
