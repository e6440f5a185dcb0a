// Notes while a scenario runs when each picture of each member arrived at each other one, and what the boxes said meanwhile.
// A frame counts when it was decoded: a box says when it decoded the newest, a page when it showed one whose strip it could
// read. All times are CLOCK_MONOTONIC, ms.

import { monotonic, waitFor } from '../browser/wait.mjs';

const BOX_EVERY = 20;
const PAGE_EVERY = 100;
/** A picture is "back" when this many follow it within this long: a single one out of a buffer is not. */
const FOLLOWERS = 3;
const FOLLOW_WITHIN = 1500;

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
/** A box, not a page. */
export const isBox = (member) => 'control' in member;

export class Recorder {
  /** @param {(Box | MemberPage)[]} members @param {{every?: number}} options of asking a box, ms */
  constructor(members, { every = BOX_EVERY } = {}) {
    this.members = members;
    this.every = every;
    /** When pictures arrived, by `receiver sender`. @type {Map<string, number[]>} */
    this.arrivals = new Map();
    /** Pictures counted, as [when, how many more], by the same: asked seldom, a box still counts every one. @type {Map<string, [number, number][]>} */
    this.counts = new Map();
    /** What a box said of a peer, whenever it changed, by `box peer`. */
    this.peers = new Map();
    /** What a box said of itself, whenever it changed, by box. */
    this.states = new Map();
    this.stopped = false;
    this.loops = members.map((member) => (isBox(member) ? this.followBox(member) : this.followPage(member)));
  }

  async stop() {
    this.stopped = true;
    await Promise.all(this.loops);
  }

  async followBox(box) {
    const seen = new Map();
    for (let round = 0; !this.stopped; round += 1) {
      try {
        const { peers_in: inbound } = await box.health();
        for (const { user_id: user, generation, video } of inbound) {
          const last = seen.get(user);
          const decoded = last?.generation === generation ? video.decoded - last.decoded : video.decoded;
          if (video.last_picture_ms !== null && video.last_picture_ms !== last?.at) this.add(box.user, user, [video.last_picture_ms], last ? decoded : 1);
          seen.set(user, { generation, decoded: video.decoded, at: video.last_picture_ms ?? last?.at });
        }
        if (round % 5 === 0) this.noteStatus(box, await box.status(), inbound);
      } catch {
        // A box that has just been killed answers nothing.
      }
      await pause(this.every);
    }
  }

  noteStatus(box, { signaling, banner, peers }, inbound) {
    const at = monotonic();
    append(this.states, box.user, { at, signaling: signaling.state, banner });
    for (const peer of peers) {
      const generation = inbound.find(({ user_id: user }) => user === peer.user_id)?.generation ?? null;
      append(this.peers, key(box.user, peer.user_id), {
        at,
        state: peer.connection_state,
        ice: peer.ice_connection_state,
        phase: peer.phase,
        badge: peer.badge,
        attempt: peer.attempt,
        generation,
      });
    }
  }

  async followPage(member) {
    const since = {};
    while (!this.stopped) {
      try {
        const late = await member.page.evaluate((known) => {
          const found = {};
          for (const [user, { readings }] of window.member.remotes) {
            found[user] = readings.map(({ shownAt }) => shownAt).filter((at) => at > (known[user] ?? 0));
          }
          return found;
        }, since);
        for (const [user, times] of Object.entries(late)) {
          if (times.length === 0) continue;
          since[user] = times.at(-1);
          this.add(member.user, user, times, times.length);
        }
      } catch {
        // A page that is being closed or loaded again.
      }
      await pause(PAGE_EVERY);
    }
  }

  add(receiver, sender, times, count) {
    const name = key(receiver, sender);
    if (!this.arrivals.has(name)) {
      this.arrivals.set(name, []);
      this.counts.set(name, []);
    }
    this.arrivals.get(name).push(...times);
    this.counts.get(name).push([times.at(-1), count]);
  }

  /** When pictures of `sender` arrived at `receiver`. */
  times(receiver, sender) {
    return this.arrivals.get(key(receiver.user, sender.user)) ?? [];
  }

  /** How many pictures were decoded between two times. */
  counted(receiver, sender, from, to) {
    const counts = this.counts.get(key(receiver.user, sender.user)) ?? [];
    return counts.filter(([at]) => at > from && at <= to).reduce((sum, [, count]) => sum + count, 0);
  }

  /** When the first picture from `since` on arrived that others followed; undefined while there is none. */
  backAt(receiver, sender, since) {
    const late = this.times(receiver, sender).filter((at) => at >= since);
    // A box that is asked seldom tells of few of its pictures when they came, and still counts every one.
    const followed = (at, index) => late[index + FOLLOWERS] <= at + FOLLOW_WITHIN || this.counted(receiver, sender, at, at + FOLLOW_WITHIN) >= FOLLOWERS;
    return late.find(followed);
  }

  /** Waits for it. */
  untilBack(receiver, sender, since, within) {
    return waitFor(`pictures of ${nameOf(sender)} at ${nameOf(receiver)}`, () => this.backAt(receiver, sender, since), {
      within,
      every: 50,
      state: () => this.story(receiver, sender, since - 1000),
    });
  }

  /** Waits until every pair in both directions has pictures from `since` on. */
  async untilAllBack(pairs, since, within) {
    await Promise.all(pairs.flatMap(([one, other]) => [this.untilBack(one, other, since, within), this.untilBack(other, one, since, within)]));
  }

  /** The longest time without a picture of `sender` at `receiver` between two times; the ends count as pictures. */
  longestGap(receiver, sender, from, to) {
    const inside = this.times(receiver, sender).filter((at) => at >= from && at <= to);
    const marks = [from, ...inside, to];
    return Math.max(...marks.slice(1).map((at, index) => at - marks[index]));
  }

  /** Pictures that arrived between two times. */
  arrived(receiver, sender, from, to) {
    return this.times(receiver, sender).filter((at) => at >= from && at <= to).length;
  }

  /** What `box` said of `peer` at and after `since`. */
  said(box, peer, since = 0) {
    return (this.peers.get(key(box.user, peer.user)) ?? []).filter(({ at }) => at >= since);
  }

  /** Attempts, new connections and the longest state of a pair as its box counted them after `since`. */
  effort(box, peer, since) {
    const all = this.peers.get(key(box.user, peer.user)) ?? [];
    const late = all.filter(({ at }) => at >= since);
    const before = all.filter(({ at }) => at < since).at(-1);
    const generations = new Set([before, ...late].map((each) => each?.generation).filter((each) => each !== null && each !== undefined));
    return { attempts: Math.max(0, ...late.map(({ attempt }) => attempt)), connections: Math.max(0, generations.size - 1) };
  }

  /** What happened to a pair, for a failure's message. */
  story(receiver, sender, since) {
    const box = isBox(receiver) ? receiver : sender;
    const other = box === receiver ? sender : receiver;
    return {
      pictures: this.times(receiver, sender).filter((at) => at >= since).slice(0, 3),
      since,
      now: monotonic(),
      states: (this.states.get(box.user) ?? []).slice(-5),
      said: this.said(box, other, since).slice(-8),
    };
  }
}

function key(receiver, sender) {
  return `${receiver} ${sender}`;
}

/** What to call a member in a figure: box0, v2. */
export function nameOf(member) {
  return member.label ?? member.user.slice(0, 8);
}

function append(map, name, entry) {
  if (!map.has(name)) map.set(name, []);
  const entries = map.get(name);
  const { at: _last, ...before } = entries.at(-1) ?? {};
  const { at: _at, ...now } = entry;
  if (entries.length === 0 || JSON.stringify(before) !== JSON.stringify(now)) entries.push(entry);
}
