// The room as one sees it: tiles of people, tiles of screens, and how they share the space.

import { Tile, icon, make } from './tile.js';

const RATIO = 16 / 9;
const GAP = 10;
const MEASURE_EVERY = 400;

export class Stage {
  /** @param {{media: import('./media.js').LocalMedia, onBlocked: () => void}} options */
  constructor({ media, onBlocked }) {
    this.media = media;
    this.onBlocked = onBlocked;
    this.room = document.getElementById('room');
    this.people = document.getElementById('tiles');
    this.screens = document.getElementById('shares');
    this.empty = document.getElementById('empty');
    /** @type {Map<string, Tile>} */
    this.tiles = new Map();
    this.ownStream = new MediaStream();
    new ResizeObserver(() => this.layOut()).observe(this.room);
    // An open menu lies over the tiles, so it goes when one is done with it.
    document.addEventListener('click', ({ target }) => this.closeMenus(target));
    document.addEventListener('keydown', ({ key }) => key === 'Escape' && this.closeMenus(null));
    media.addEventListener('speaker', () => {
      for (const tile of this.tiles.values()) tile.setSpeaker(media.chosen.speaker);
    });
  }

  /** @param {import('./meeting.js').Meeting} meeting */
  start(meeting, name) {
    this.clear();
    this.meeting = meeting;
    this.ownName = name;
    this.timer = setInterval(() => {
      const now = performance.now();
      for (const tile of this.tiles.values()) tile.measure(now);
    }, MEASURE_EVERY);
    this.render();
  }

  clear() {
    clearInterval(this.timer);
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
    this.meeting = null;
  }

  tile(key, options, container) {
    let tile = this.tiles.get(key);
    if (!tile) {
      tile = new Tile({ ...options, onBlocked: this.onBlocked });
      this.tiles.set(key, tile);
      container.append(tile.root);
      tile.setSpeaker(this.media.chosen.speaker);
    }
    return tile;
  }

  render() {
    if (!this.meeting) return;
    const { meeting } = this;
    const kept = new Set(['own']);
    this.renderOwn();
    for (const member of meeting.members.values()) {
      const tile = this.tile(member.id, { id: member.id, kind: 'member' }, this.people);
      kept.add(member.id);
      tile.setStream(member.main);
      tile.update({
        name: member.name,
        label: member.role === 'host' ? `${member.name} (host)` : member.name,
        badge: member.badge,
        muted: member.muted,
        videoOff: member.videoOff,
        sharing: Boolean(member.shownShare) || member.announcedShare === true,
        picture: Boolean(member.main),
      });
      this.renderMenu(tile, member);
      if (!member.shownShare) continue;
      const key = `share ${member.id}`;
      const shared = this.tile(key, { id: member.id, kind: 'share' }, this.screens);
      kept.add(key);
      shared.setStream(member.shownShare);
      shared.update({ name: member.name, label: `${member.name}’s screen`, badge: member.badge, picture: true });
    }
    for (const [key, tile] of this.tiles) {
      if (kept.has(key)) continue;
      tile.remove();
      this.tiles.delete(key);
    }
    this.empty.hidden = meeting.members.size > 0 || !meeting.joined;
    this.screens.hidden = this.screens.childElementCount === 0;
    this.room.classList.toggle('presenting', !this.screens.hidden);
    this.layOut();
  }

  renderOwn() {
    const { media } = this;
    const tile = this.tile('own', { id: this.meeting.ownId, kind: 'own' }, this.people);
    const [shown] = this.ownStream.getVideoTracks();
    if (shown !== (media.camera ?? undefined)) {
      if (shown) this.ownStream.removeTrack(shown);
      if (media.camera) this.ownStream.addTrack(media.camera);
      // The element takes no notice of a track that was exchanged.
      tile.setStream(null);
    }
    tile.setStream(media.camera ? this.ownStream : null);
    tile.root.classList.toggle('mirrored', media.camera?.getSettings().facingMode !== 'environment');
    tile.update({
      name: this.ownName,
      label: 'You',
      muted: media.muted,
      videoOff: media.videoOff,
      sharing: media.sharing,
      picture: Boolean(media.camera),
    });
  }

  // A host's orders. Only such as close: nobody opens a microphone or a camera from afar.
  renderMenu(tile, member) {
    const isHost = this.meeting.role === 'host';
    if (!isHost || tile.menu) {
      if (!isHost && tile.menu) {
        tile.menu.remove();
        tile.menu = null;
      }
      return;
    }
    tile.menu = make('details', 'menu');
    const summary = make('summary', 'round');
    summary.setAttribute('aria-label', `Host actions for ${member.name}`);
    summary.append(icon('more'));
    const list = make('div', 'menu-list');
    const orders = [
      ['mute', 'Mute', 'admin:mute-user', { mute: true }],
      ['video-off', 'Turn camera off', 'admin:video-off-user', { videoOff: true }],
      ['stop-share', 'Stop sharing', 'admin:stop-share-user', {}],
      ['kick', 'Remove from the meeting', 'admin:kick-user', {}],
    ];
    for (const [key, text, event, more] of orders) {
      const button = make('button', '', text);
      button.type = 'button';
      button.dataset.order = key;
      button.addEventListener('click', () => {
        tile.menu.open = false;
        this.meeting.order(event, member.id, more);
      });
      list.append(button);
    }
    tile.menu.append(summary, list);
    tile.root.append(tile.menu);
  }

  closeMenus(target) {
    for (const { menu } of this.tiles.values()) if (menu?.open && !menu.contains(target)) menu.open = false;
  }

  /** Makes the tiles as large as all of them fit. While somebody presents the style sheet lays out a strip. */
  layOut() {
    const count = this.people.childElementCount;
    const { clientWidth: width, clientHeight: height } = this.people;
    if (count === 0 || width === 0) return;
    let best = 0;
    for (let columns = 1; columns <= count; columns += 1) {
      const rows = Math.ceil(count / columns);
      const wide = (width - GAP * (columns - 1)) / columns;
      const high = ((height - GAP * (rows - 1)) / rows) * RATIO;
      best = Math.max(best, Math.min(wide, high));
    }
    this.people.style.setProperty('--tile', `${Math.floor(best)}px`);
  }
}
