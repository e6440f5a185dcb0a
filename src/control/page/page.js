// The box's own page. It draws what the box says and claims nothing by itself: a light changes when the box says so,
// never because a button was pressed. Names come from strangers and are written as text only.

const EVENTS = [
  'connection-state-changed',
  'ice-connection-state-changed',
  'peer-connected',
  'peer-disconnected',
  'reconnecting',
  'reconnected',
  'reconnect-failed',
];
const SIGNALING = {
  unconfigured: 'No meeting is configured',
  left: 'Not in the meeting',
  connecting: 'Connecting to the server',
  joining: 'Joining the meeting',
  joined: 'In the meeting',
  reconnecting: 'Reconnecting to the server',
  refused: 'Refused by the server',
};
const LOST = 'This page lost the box; trying again';
const KEPT_EVENTS = 50;
const KEPT_NAMES = 200;
// Milliseconds.
const RETRY = 2000;
const HEALTH_EVERY = 500;
const PICTURES_EVERY = 1000;
const ANSWER_SHOWN = 8000;
const REQUEST_LIMIT = 4000;
// What a meter shows, dBFS. The box says -120 for digital silence.
const QUIETEST = -60;
// From here on a tile is marked as heard.
const AUDIBLE = -45;

const $ = (id) => document.getElementById(id);
const buttons = { mic: $('press-mic'), camera: $('press-camera'), share: $('press-share') };
const lights = { mic: $('led-mic'), camera: $('led-camera'), status: $('led-status') };
const lightNames = { mic: 'Microphone light', camera: 'Camera light', status: 'Status light' };

let about = { panel: false, pictures: false };
let lost = true;
let stream = null;
/** Members by user id: their tile, and what was last said about them. */
const tiles = new Map();
/** Names outlive their members: the list of events speaks of those who left. */
const names = new Map();

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Since when something holds, on this page's own clock, so that it can tick without asking.
function since(element, milliseconds) {
  element.dataset.since = String(performance.now() - milliseconds);
  tick(element);
}

function tick(element) {
  const seconds = Math.max(0, Math.floor((performance.now() - Number(element.dataset.since)) / 1000));
  const two = (number) => String(number).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (hours > 0) write(element, `for ${hours} h ${two(minutes % 60)} min`);
  else if (minutes > 0) write(element, `for ${minutes} min ${two(seconds % 60)} s`);
  else write(element, `for ${seconds} s`);
}

function showLight(which, pattern) {
  const light = lights[which];
  if (light.dataset.pattern === pattern && light.hasAttribute('aria-label')) return;
  const [color, shape] = pattern.split(' ');
  light.dataset.pattern = pattern;
  light.dataset.color = color;
  light.dataset.shape = shape ?? '';
  light.setAttribute('aria-label', `${lightNames[which]}: ${pattern}`);
  write(light.querySelector('.pattern'), pattern);
}

function showLevel(element, level) {
  const known = Number.isFinite(level);
  element.hidden = !known;
  if (!known) return;
  const shown = Math.min(0, Math.max(QUIETEST, level));
  const meter = element.querySelector('.meter');
  meter.querySelector('i').style.setProperty('--share', String(1 - shown / QUIETEST));
  meter.setAttribute('aria-valuenow', String(Math.round(shown)));
  const text = level <= QUIETEST ? 'silent' : `${Math.round(level)} dB`.replace('-', '\u2212');
  meter.setAttribute('aria-valuetext', text);
  write(element.querySelector('output'), text);
}

function showBanner(element, text) {
  write(element, text ?? '');
  element.classList.toggle('shown', Boolean(text));
}

function setLost(now) {
  lost = now;
  document.body.dataset.lost = String(now);
  showBanner($('lost'), now ? LOST : '');
  for (const button of Object.values(buttons)) button.disabled = now;
  if (!now) return;
  // Nobody knows what holds now.
  showBanner($('banner'), '');
  for (const which of Object.keys(lights)) showLight(which, 'unknown');
  for (const id of ['microphone', 'camera', 'screen']) showOwn(id, 'unknown', '');
  $('signaling').dataset.state = '';
  write($('signaling-words'), 'State unknown');
  delete $('signaling-since').dataset.since;
  write($('signaling-since'), '');
  showLevels(null);
}

function showOwn(id, text, tone) {
  write($(id), text);
  $(id).dataset.tone = tone;
}

// What the pipeline does, what was wanted, and why.
function describe(closed, confirmed, forced, words) {
  if (confirmed === null) return `${closed ? words.closed : words.open}, not confirmed yet`;
  if (confirmed !== closed) return closed ? words.closing : words.opening;
  if (closed) return forced ? `${words.closed} by a host` : words.closed;
  return words.open;
}

function showRoom(snapshot) {
  $('sim').hidden = !snapshot.sim;
  showBanner($('banner'), snapshot.banner);
  write($('count'), `${snapshot.connected_peers + 1} connected`);

  const { state, since_ms: age, unencrypted } = snapshot.signaling;
  $('signaling').dataset.state = state;
  write($('signaling-words'), `${SIGNALING[state] ?? state}${unencrypted ? ', not encrypted,' : ''}`);
  since($('signaling-since'), age);

  const { microphone, camera, screen } = snapshot;
  showOwn('microphone', describe(microphone.muted, microphone.confirmed, microphone.forced, {
    closed: 'Muted', open: 'Live', closing: 'Muting', opening: 'Opening',
  }), microphone.confirmed === false ? 'open' : 'closed');
  showOwn('camera', camera.lost ? 'Lost; looking for it' : describe(camera.off, camera.confirmed, camera.forced, {
    closed: 'Switched off', open: 'On', closing: 'Switching off', opening: 'Switching on',
  }), camera.lost ? 'lost' : camera.confirmed === false ? 'open' : 'closed');
  showOwn('screen', screen.sharing ? 'Sharing' : screen.refused ? `Refused: ${screen.refused}` : screen.forced ? 'Stopped by a host' : 'Not shared', screen.sharing ? 'open' : '');

  buttons.mic.setAttribute('aria-pressed', String(microphone.confirmed !== false));
  buttons.camera.setAttribute('aria-pressed', String(camera.confirmed !== false));
  buttons.share.setAttribute('aria-pressed', String(screen.sharing));
  for (const which of Object.keys(lights)) showLight(which, snapshot.leds[which]);
  showPeers(snapshot.peers);
}

function initials(name) {
  const words = name.trim().split(/\s+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  const first = (word) => (Intl.Segmenter ? [...new Intl.Segmenter().segment(word)][0].segment : [...word][0]);
  return letters.map(first).join('').toUpperCase();
}

function newTile(user) {
  const element = $('peer').content.firstElementChild.cloneNode(true);
  element.dataset.user = user;
  write(element.querySelector('.user'), user);
  const tile = { element, peer: null };
  tiles.set(user, tile);
  return tile;
}

function remember(peer) {
  names.delete(peer.user_id);
  names.set(peer.user_id, peer.name);
  // The page may stay open for weeks.
  if (names.size > KEPT_NAMES) names.delete(names.keys().next().value);
}

function showPeers(peers) {
  const list = $('peers');
  $('nobody').hidden = peers.length > 0;
  const present = new Set(peers.map((peer) => peer.user_id));
  for (const [user, tile] of tiles) {
    if (present.has(user)) continue;
    tile.element.remove();
    tiles.delete(user);
  }
  peers.forEach((peer, index) => {
    const tile = tiles.get(peer.user_id) ?? newTile(peer.user_id);
    tile.peer = peer;
    remember(peer);
    showPeer(tile);
    if (list.children[index] !== tile.element) list.insertBefore(tile.element, list.children[index] ?? null);
  });
}

function showPeer({ element, peer }) {
  const part = (name) => element.querySelector(`.${name}`);
  write(part('name'), peer.name);
  write(part('initials'), initials(peer.name));
  write(part('badge'), peer.badge ?? '');
  part('badge').hidden = peer.badge === null;
  element.dataset.badge = peer.badge ?? '';
  part('muted').hidden = !peer.muted;
  part('video-off').hidden = !peer.video_off;
  part('sharing').hidden = !peer.sharing;
  write(part('connection'), peer.connection_state);
  since(part('since'), peer.since_ms);
  write(part('previous'), peer.previous_connection_state);
  write(part('ice'), peer.ice_connection_state);
  write(part('phase'), peer.phase);
  part('attempts').hidden = peer.attempt === 0;
  write(part('attempts').querySelector('dd'), `${peer.attempt}, of ${peer.max_attempts} fast ones`);
  part('meter').setAttribute('aria-label', `Level heard from ${peer.name}`);
  if (peer.video_off) part('view').querySelector('img')?.remove();
}

function showLevels(health) {
  showLevel($('level-sent'), health?.audio_out?.level_dbfs);
  showLevel($('level-heard'), health?.speaker?.heard?.level_dbfs);
  const heard = new Map((health?.peers_in ?? []).map((peer) => [peer.user_id, peer.audio?.level_dbfs]));
  for (const [user, { element }] of tiles) {
    showLevel(element.querySelector('.level'), heard.get(user));
    element.dataset.heard = String(heard.get(user) > AUDIBLE);
  }
}

function explain(event) {
  if ('state' in event) return `${event.previous_state} \u2192 ${event.state}`;
  if ('max_attempts' in event) return `attempt ${event.attempt} of ${event.max_attempts}`;
  if ('attempts' in event) return `after ${event.attempts} attempt${event.attempts === 1 ? '' : 's'}`;
  return '';
}

function showEvent(name, event) {
  const row = document.createElement('li');
  row.dataset.event = name;
  const add = (tag, className, text) => {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    row.append(element);
    return element;
  };
  const now = new Date();
  add('time', '', now.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false })).dateTime = now.toISOString();
  add('code', '', name);
  add('span', 'whose', names.get(event.user_id) ?? event.user_id);
  add('span', 'detail', explain(event));
  const list = $('events');
  list.prepend(row);
  while (list.children.length > KEPT_EVENTS) list.lastElementChild.remove();
  $('quiet').hidden = true;
}

let answerTimer = 0;

function showAnswer(text) {
  clearTimeout(answerTimer);
  write($('answer'), text);
  if (text) answerTimer = setTimeout(() => showAnswer(''), ANSWER_SHOWN);
}

async function press(button) {
  showAnswer('');
  try {
    const response = await fetch('/panel/press', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ button }),
      signal: AbortSignal.timeout(REQUEST_LIMIT + 2000),
    });
    if (!response.ok) showAnswer((await response.json()).message);
  } catch {
    showAnswer('The box did not answer; the lights show what holds.');
  }
}

async function read(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(REQUEST_LIMIT) });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

// Asked anew with every stream: the box may have been started with another configuration.
async function readAbout() {
  about = await read('/api/page');
  document.title = about.name;
  write($('name'), about.name);
  write($('version'), `huddled ${about.version}`);
  $('panel').dataset.buttons = String(about.panel);
  for (const button of Object.values(buttons)) button.hidden = !about.panel;
  $('peers').dataset.pictures = String(about.pictures);
  const link = about.meeting_link && URL.canParse(about.meeting_link) ? new URL(about.meeting_link) : null;
  const usable = link !== null && ['http:', 'https:'].includes(link.protocol);
  $('meeting-link').hidden = !usable;
  if (usable) $('meeting-link').href = link.href;
}

function follow() {
  stream?.close();
  const mine = new EventSource('/api/events');
  stream = mine;
  mine.addEventListener('open', () => readAbout().catch(() => {}));
  mine.addEventListener('snapshot', ({ data }) => {
    setLost(false);
    showRoom(JSON.parse(data));
  });
  for (const name of EVENTS) mine.addEventListener(name, ({ data }) => showEvent(name, JSON.parse(data)));
  mine.addEventListener('error', () => {
    setLost(true);
    // A refusal ends it for good; everything else the browser repeats by itself.
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => stream === mine && follow(), RETRY);
  });
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// Beside the levels this notices a box that hangs: its stream stays open and silent.
async function pollHealth() {
  let failures = 0;
  for (;;) {
    await pause(HEALTH_EVERY);
    if (document.hidden || lost) continue;
    try {
      const health = await read('/api/health');
      failures = 0;
      if (!lost) showLevels(health);
    } catch {
      failures += 1;
      if (failures < 2 || lost) continue;
      failures = 0;
      setLost(true);
      follow();
    }
  }
}

// One after another: the box makes few at a time.
async function pollPictures() {
  for (;;) {
    await pause(PICTURES_EVERY);
    if (document.hidden || lost || !about.pictures) continue;
    for (const [user, { element, peer }] of [...tiles]) {
      if (peer.video_off) continue;
      const image = new Image();
      image.alt = `Newest picture of ${peer.name}`;
      image.src = `/api/picture?user=${encodeURIComponent(user)}&at=${Date.now()}`;
      const arrived = await image.decode().then(() => true, () => false);
      if (!arrived || tiles.get(user)?.element !== element || tiles.get(user).peer.video_off) continue;
      const view = element.querySelector('.view');
      view.querySelector('img')?.remove();
      view.prepend(image);
    }
  }
}

for (const [name, button] of Object.entries(buttons)) button.addEventListener('click', () => press(name));
setInterval(() => document.querySelectorAll('[data-since]').forEach(tick), 1000);
follow();
pollHealth();
pollPictures();
