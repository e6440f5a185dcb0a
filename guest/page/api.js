// Joining over REST: who we are in this meeting, and the token that proves it to the socket.

import { remembered } from './link.js';

const ANSWER_WAIT = 10_000;
const RETRY_DELAYS = [1000, 2000, 4000, 8000];

/** What the hub says no to, in plain words with what to do; `again` where asking the person to try again makes sense. */
const REFUSALS = {
  unauthorized: { text: 'This link is not valid any more. Ask for a new link.', again: false },
  blocked: { text: 'A host blocked you from this meeting.', again: false },
  kicked: { text: 'A host removed you from this meeting.', again: true },
  missing: { text: 'There is no such meeting. Check the link, or ask for a new one.', again: false },
  full: { text: 'The meeting is full. Wait until somebody leaves, then try again.', again: true },
  replaced: { text: 'You joined this meeting in another tab or window, so it goes on there.', again: true },
  duplicate: { text: 'Somebody with your place in this meeting is here already. Close the other tab, then try again.', again: true },
};

const CODE_OF_STATUS = { 401: 'unauthorized', 403: 'blocked', 404: 'missing', 409: 'full' };

/** A refusal that trying again by itself would not change. */
export class Refusal extends Error {
  constructor(code, message) {
    super(REFUSALS[code]?.text ?? `The server says: ${message || code || 'no'}.`);
    this.code = code;
    this.again = REFUSALS[code]?.again ?? true;
  }
}

/**
 * Joins; retries for ever what may pass by itself, which `onWait` is told of.
 * @param {{meeting: string, token: string | null}} link
 * @param {{signal: AbortSignal, onWait: (text: string) => void}} options
 */
export async function joinMeeting({ meeting, token }, { signal, onWait }) {
  for (let attempt = 0; ; attempt += 1) {
    const member = remembered.member(meeting);
    const outcome = await ask(meeting, member?.token ?? token, signal);
    if (outcome.identity) {
      const { userId, token: own } = outcome.identity;
      remembered.setMember(meeting, { userId, token: own });
      return outcome.identity;
    }
    if (outcome.refusal?.code === 'unauthorized' && member) {
      // The hub forgot the member, for instance because it was restarted; the link may still be good.
      remembered.setMember(meeting, null);
      continue;
    }
    if (outcome.refusal) throw outcome.refusal;
    onWait(outcome.wait);
    await pause(RETRY_DELAYS[Math.min(attempt, RETRY_DELAYS.length - 1)], signal);
  }
}

async function ask(meeting, token, signal) {
  const attempt = new AbortController();
  const giveUp = () => attempt.abort();
  signal.addEventListener('abort', giveUp, { once: true });
  const timer = setTimeout(giveUp, ANSWER_WAIT);
  let response;
  try {
    response = await fetch(`/api/v1/public-meetings/${encodeURIComponent(meeting)}/join`, {
      method: 'POST',
      headers: token ? { authorization: `Bearer ${token}` } : {},
      cache: 'no-store',
      signal: attempt.signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    return { wait: 'The server cannot be reached. Trying again …' };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', giveUp);
  }
  const body = await response.json().catch(() => null);
  if (response.ok) {
    if (body?.userId && body.token) return { identity: { ...body, meetingId: body.meetingId ?? meeting } };
    return { refusal: new Refusal('answer', 'its answer is not that of a meeting server') };
  }
  if (response.status === 429 || response.status >= 500) return { wait: 'The server is busy. Trying again …' };
  const known = body?.code in REFUSALS ? body.code : null;
  // A 403 without a code we know may be anything: then the server's own words are better than a guess.
  const code = known ?? (response.status === 403 && body?.message ? body.code : CODE_OF_STATUS[response.status]);
  return { refusal: new Refusal(code, body?.message ?? `status ${response.status}`) };
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
