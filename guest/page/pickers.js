// The choice of camera, microphone and speaker; used on the start screen and in the meeting's dialog.

const KINDS = [
  { kind: 'camera', input: 'videoinput', label: 'Camera', none: 'No camera' },
  { kind: 'microphone', input: 'audioinput', label: 'Microphone', none: 'No microphone' },
  { kind: 'speaker', input: 'audiooutput', label: 'Speaker', none: 'The browser’s default' },
];
const canChooseSpeaker = 'setSinkId' in HTMLMediaElement.prototype;
let pickers = 0;

export class Pickers {
  /**
   * @param {HTMLElement} container
   * @param {import('./media.js').LocalMedia} media
   */
  constructor(container, media) {
    this.media = media;
    this.rows = new Map();
    pickers += 1;
    for (const { kind, label } of KINDS) {
      const select = document.createElement('select');
      select.id = `${kind}-select-${pickers}`;
      select.dataset.device = kind;
      select.addEventListener('change', () => media.choose(kind, select.value));
      const caption = document.createElement('label');
      caption.htmlFor = select.id;
      caption.textContent = label;
      container.append(caption, select);
      this.rows.set(kind, { select, caption });
    }
    media.addEventListener('devices', () => this.refresh());
    this.refresh();
  }

  async refresh() {
    const devices = await navigator.mediaDevices?.enumerateDevices().catch(() => []) ?? [];
    for (const { kind, input, none } of KINDS) {
      // Without a permission browsers list devices that have neither id nor name.
      const found = devices.filter((each) => each.kind === input && each.deviceId);
      const { select, caption } = this.rows.get(kind);
      const options = found.map((each, index) => option(each.deviceId, each.label || `${caption.textContent} ${index + 1}`));
      select.replaceChildren(...(options.length > 0 ? options : [option('', none)]));
      select.disabled = options.length === 0;
      const current = this.media[kind]?.getSettings?.().deviceId ?? this.media.chosen[kind];
      if (found.some((each) => each.deviceId === current)) select.value = current;
      select.hidden = kind === 'speaker' && (!canChooseSpeaker || found.length === 0);
      caption.hidden = select.hidden;
    }
  }
}

function option(value, text) {
  const element = document.createElement('option');
  element.value = value;
  element.textContent = text;
  return element;
}
