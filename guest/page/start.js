// The start screen: who one is, and what others will see and hear of one.

import { Pickers } from './pickers.js';
import { initialsOf, make } from './tile.js';

const element = (id) => document.getElementById(id);

export class StartScreen {
  /**
   * @param {import('./media.js').LocalMedia} media
   * @param {{name: string, join: (name: string) => void, cancel: () => void}} options
   */
  constructor(media, { name, join, cancel }) {
    this.media = media;
    this.preview = element('preview');
    this.picture = new MediaStream();
    element('name').value = name;
    element('name').addEventListener('input', () => this.render());
    element('start-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.busy();
      join(element('name').value);
    });
    element('cancel').addEventListener('click', cancel);
    element('start-mic').addEventListener('click', () => this.toggleMicrophone());
    element('start-camera').addEventListener('click', () => this.toggleCamera());
    media.addEventListener('state', () => this.render());
    media.addEventListener('camera', () => this.showCamera());
  }

  async open() {
    this.pickers ??= new Pickers(element('start-pickers'), this.media);
    this.render();
    element('preview-text').textContent = 'Asking for camera and microphone …';
    await this.media.open();
    this.opened = true;
    this.render();
  }

  toggleMicrophone() {
    if (this.media.muted) this.media.unmute();
    else this.media.setMuted(true);
  }

  toggleCamera() {
    if (this.media.videoOff) this.media.openCamera();
    else this.media.setVideoOff(true);
  }

  showCamera() {
    const { camera } = this.media;
    for (const track of this.picture.getTracks()) this.picture.removeTrack(track);
    if (camera) this.picture.addTrack(camera);
    this.preview.srcObject = camera ? this.picture : null;
  }

  render() {
    const { media } = this;
    element('start-mic').setAttribute('aria-pressed', String(!media.muted));
    element('start-camera').setAttribute('aria-pressed', String(!media.videoOff));
    const visible = Boolean(media.camera) && !media.videoOff;
    this.preview.classList.toggle('visible', visible);
    if (this.opened || visible) element('preview-text').textContent = visible ? '' : initialsOf(element('name').value || 'Guest');
    const problems = media.problemSentences();
    if (problems.length > 0) {
      problems.push(media.problems.microphone ? 'You can join all the same and listen.' : 'You can join all the same.');
    }
    element('problems').replaceChildren(...problems.map((text) => make('li', '', text)));
  }

  busy() {
    element('join').disabled = true;
    element('join').textContent = 'Joining …';
    element('cancel').hidden = false;
    this.say('');
  }

  idle() {
    element('join').disabled = false;
    element('join').textContent = 'Join';
    element('cancel').hidden = true;
  }

  say(text) {
    element('start-status').textContent = text;
  }
}
