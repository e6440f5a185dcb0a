// What the page is told by its address and what it remembers. Storage may be forbidden; then it just forgets.

const NAME_KEY = 'huddled.name';
const DEVICES_KEY = 'huddled.devices';
const MEMBER_KEY = 'huddled.member.';
export const LONGEST_NAME = 60;

/**
 * Reads `#meeting=ID&token=TOKEN&name=NAME`. The fragment never leaves the browser by itself, which is why the link
 * carries the token there.
 */
export function readLink(fragment) {
  // URLSearchParams would read a plus as a blank, and a token may contain one.
  const fields = new URLSearchParams(fragment.replace(/^#/, '').replaceAll('+', '%2B'));
  return {
    meeting: fields.get('meeting')?.trim() || null,
    token: fields.get('token')?.trim() || null,
    name: fields.get('name') ?? '',
  };
}

/** The fragment of a pasted link, or a sentence saying what is wrong with it. */
export function readPasted(pasted, here = location) {
  const text = pasted.trim();
  const at = text.indexOf('#');
  if (at < 0 || !readLink(text.slice(at)).meeting) return { problem: 'This is not a complete link: it must contain “#meeting=”.' };
  if (at > 0) {
    if (!text.startsWith(`${here.origin}/`)) {
      return { problem: 'This link belongs to another server: open it in the address bar instead.' };
    }
  }
  return { fragment: text.slice(at) };
}

export function cleanName(text) {
  return text.replace(/\s+/g, ' ').trim().slice(0, LONGEST_NAME);
}

export const remembered = {
  name: () => read(localStorage_, NAME_KEY) ?? '',
  setName: (name) => write(localStorage_, NAME_KEY, name),
  devices: () => parse(read(localStorage_, DEVICES_KEY)) ?? {},
  setDevices: (devices) => write(localStorage_, DEVICES_KEY, JSON.stringify(devices)),
  // Of this tab only: two tabs are two members.
  member: (meeting) => parse(read(sessionStorage_, MEMBER_KEY + meeting)),
  setMember: (meeting, member) => write(sessionStorage_, MEMBER_KEY + meeting, member && JSON.stringify(member)),
};

function localStorage_() {
  return window.localStorage;
}

function sessionStorage_() {
  return window.sessionStorage;
}

function read(storage, key) {
  try {
    return storage().getItem(key);
  } catch {
    return null;
  }
}

function write(storage, key, value) {
  try {
    if (value) storage().setItem(key, value);
    else storage().removeItem(key);
  } catch {
    // Nothing is lost but the comfort.
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
