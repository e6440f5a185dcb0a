// The bar of buttons, the banner, the count and the notices of the meeting.

import { Pickers } from './pickers.js';
import { make } from './tile.js';

const NOTICE_TIME = 8000;

const element = (id) => document.getElementById(id);

export class Controls {
  /**
   * @param {import('./media.js').LocalMedia} media
   * @param {{leave: () => void}} actions
   */
  constructor(media, { leave }) {
    this.media = media;
    this.notices = element('notices');
    const onClick = (id, act) => element(id).addEventListener('click', act);
    onClick('mic', () => (media.muted ? media.unmute() : media.setMuted(true)));
    onClick('camera', () => (media.videoOff ? media.openCamera() : media.setVideoOff(true)));
    onClick('share', () => (media.sharing ? media.unshare() : media.share()));
    onClick('devices', () => this.openDevices());
    onClick('leave', leave);
    element('share').hidden = !media.canShare;
    media.addEventListener('notice', ({ detail }) => detail && this.notify(detail));
  }

  openDevices() {
    this.pickers ??= new Pickers(element('pickers'), this.media);
    this.pickers.refresh();
    element('devices-dialog').showModal();
  }

  /** @param {import('./meeting.js').Meeting} meeting */
  render(meeting) {
    const { media } = this;
    press('mic', !media.muted, media.muted ? 'Turn your microphone on' : 'Turn your microphone off');
    press('camera', !media.videoOff, media.videoOff ? 'Turn your camera on' : 'Turn your camera off');
    press('share', media.sharing, media.sharing ? 'Stop sharing your screen' : 'Share your screen');
    const banner = element('banner');
    const text = meeting.banner;
    if (banner.textContent !== text) banner.textContent = text;
    banner.hidden = !text;
    const count = meeting.connected;
    element('count').textContent = `${count} in the meeting`;
    element('count').dataset.connected = String(count);
  }

  /**
   * Says something for a few seconds, or with an action until it is taken.
   * @param {string} text
   * @param {{label: string, act: () => void}} [action]
   */
  notify(text, action) {
    for (const each of this.notices.children) if (each.dataset.text === text) each.remove();
    const notice = make('div', 'notice', text);
    notice.dataset.text = text;
    if (action) {
      const button = make('button', 'secondary', action.label);
      button.type = 'button';
      button.addEventListener('click', () => {
        notice.remove();
        action.act();
      });
      notice.append(button);
    } else {
      setTimeout(() => notice.remove(), NOTICE_TIME);
    }
    this.notices.append(notice);
  }
}

function press(id, pressed, title) {
  const button = element(id);
  button.setAttribute('aria-pressed', String(pressed));
  button.title = title;
}
