// A member in the manner of the application's second browser hook ("V2"), with its defects.
//
// Options in the address, beside those of member.js:
//   names=media|webrtc   media:* as in the middle versions; webrtc:* as in the last with the server's flag off,
//                        which hears media:* as well and answers with webrtc:*
//   twice=1              processes each offer twice, so that two answers go out
//   foreign=1            applies media:user-muted and media:user-video-off of anybody to itself
//   recovery=seeds|late  after `failed`: explicit offer; or the last version's, whose tracks are added twice
//   joins=N              sends meeting:join N times (3)
//   eager=1              sends its state right behind meeting:join, where the server drops it

import { Member, publish, readOptions } from './member.js';

const DEBOUNCE = 150;
const STABLE_WAIT = 10_000;
const ANSWER_WAIT = 30_000;
const CANDIDATES_KEPT = 50;
const RETRY_DELAYS = [1000, 2000, 4000];

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

class V2Member extends Member {
  constructor(options) {
    super(options);
    const { query } = options;
    this.names = query.get('names') ?? 'media';
    this.twice = query.get('twice') === '1';
    this.foreign = query.get('foreign') === '1';
    this.recovery = query.get('recovery') ?? 'seeds';
    this.joins = Number(query.get('joins') ?? 3);
    this.eager = query.get('eager') !== '0';
    this.attempts = new Map();
  }

  listenToSignaling() {
    this.listen(`${this.names}:peer-ready`, ({ userId }) => this.openPeer(userId));
    for (const names of new Set([this.names, 'media'])) {
      this.listen(`${names}:offer`, ({ fromUserId, targetUserId, offer }) => {
        const from = fromUserId ?? targetUserId;
        return Promise.all(Array.from({ length: this.twice ? 2 : 1 }, () => this.onOffer(from, offer)));
      });
      this.listen(`${names}:answer`, ({ fromUserId, targetUserId, answer }) => this.onAnswer(fromUserId ?? targetUserId, answer));
      this.listen(`${names}:ice-candidate`, ({ fromUserId, targetUserId, candidate }) => this.onCandidate(fromUserId ?? targetUserId, candidate));
    }
  }

  signal(kind, user, content) {
    const room = this.names === 'media' ? { roomId: this.meeting } : {};
    this.emit(`${this.names}:${kind}`, { ...room, targetUserId: user, ...content });
  }

  onConnect() {
    for (let i = 0; i < this.joins; i += 1) this.join();
    if (this.eager) this.announce();
  }

  announce() {
    this.reportMuted();
    this.reportVideoOff();
    this.emit('media:screen-share', { isSharing: Boolean(this.screen) });
    if (!this.stream) return;
    if (this.names === 'media') this.emit('media:ready', { roomId: this.meeting, userId: this.user });
    else this.emit('webrtc:ready', { userId: this.user });
    this.emit('meeting:request-peers', {});
  }

  reportMuted() {
    this.emit('media:toggle-mic', { isMuted: this.muted });
  }

  reportVideoOff() {
    this.emit('media:toggle-video', { isVideoOff: this.videoOff });
  }

  onUserJoined(user) {
    this.openPeer(user);
  }

  onUserMuted(user, isMuted) {
    if ((this.foreign || user === this.user) && isMuted !== this.muted) this.setMuted(isMuted);
  }

  onUserVideoOff(user, isVideoOff) {
    if ((this.foreign || user === this.user) && isVideoOff !== this.videoOff) this.setVideoOff(isVideoOff);
  }

  // ---- negotiation --------------------------------------------------------------------------

  /** The greater id is the one that offers; in a collision it gives way. */
  offersTo(user) {
    return this.user > user;
  }

  openPeer(user) {
    if (!user || user === this.user || !this.stream || this.peers.has(user)) return null;
    return this.createPeer(user);
  }

  createPeer(user) {
    const peer = this.newPeer(user, { tasks: Promise.resolve(), offers: Promise.resolve(), incoming: [], makingOffer: false });
    peer.pc.addEventListener('icecandidate', ({ candidate }) => {
      if (!candidate || !candidate.candidate) return;
      // The defect: what is found before the remote description goes into the queue of *received* ones.
      if (!peer.pc.remoteDescription) this.queueCandidate(peer, candidate.toJSON());
      else this.signal('ice-candidate', user, { candidate: candidate.toJSON() });
    });
    peer.pc.addEventListener('negotiationneeded', () => {
      if (!this.offersTo(user)) return;
      clearTimeout(peer.debounce);
      peer.debounce = setTimeout(() => this.enqueueOffer(peer), DEBOUNCE);
    });
    this.addOwnTracks(peer);
    return peer;
  }

  enqueueOffer(peer) {
    peer.tasks = peer.tasks.then(() => this.makeOffer(peer)).catch((error) => this.fault(`offer: ${error}`));
  }

  async makeOffer(peer) {
    const { pc } = peer;
    if (!(await signalingState(pc, 'stable', STABLE_WAIT)) || pc.signalingState === 'closed') return;
    peer.makingOffer = true;
    try {
      const offer = await pc.createOffer({ offerToReceiveAudio: true, offerToReceiveVideo: true });
      await pc.setLocalDescription(offer);
      this.signal('offer', peer.user, { offer: plain(pc.localDescription) });
    } finally {
      peer.makingOffer = false;
    }
    await signalingState(pc, 'stable', ANSWER_WAIT);
  }

  onOffer(user, offer) {
    const peer = this.peers.get(user);
    if (!peer) return this.fault(`offer from ${user} without a connection thrown away`);
    peer.offers = peer.offers.then(() => this.applyOffer(peer, offer)).catch((error) => this.fault(`offer from ${user}: ${error}`));
    return peer.offers;
  }

  async applyOffer(peer, offer) {
    const { pc, user } = peer;
    if (peer.makingOffer || pc.signalingState !== 'stable') {
      if (!this.offersTo(user)) return this.note('pc', 'offer ignored', { user });
      if (pc.signalingState === 'have-local-offer') await pc.setLocalDescription({ type: 'rollback' });
    }
    await pc.setRemoteDescription(offer);
    await this.flushCandidates(peer);
    await pc.setLocalDescription(await pc.createAnswer());
    return this.signal('answer', user, { answer: plain(pc.localDescription) });
  }

  async onAnswer(user, answer) {
    const peer = this.peers.get(user);
    if (!peer) return this.fault(`answer from ${user} without a connection thrown away`);
    if (peer.pc.signalingState !== 'have-local-offer') return this.fault(`answer from ${user} in ${peer.pc.signalingState}`);
    await peer.pc.setRemoteDescription(answer);
    return this.flushCandidates(peer);
  }

  async onCandidate(user, candidate) {
    const peer = this.peers.get(user);
    if (!peer) return this.fault(`candidate from ${user} without a connection thrown away`);
    if (!peer.pc.remoteDescription) return this.queueCandidate(peer, candidate);
    return peer.pc.addIceCandidate(candidate);
  }

  queueCandidate(peer, candidate) {
    peer.incoming.push(candidate);
    if (peer.incoming.length > CANDIDATES_KEPT) peer.incoming.shift();
  }

  async flushCandidates(peer) {
    for (const candidate of peer.incoming.splice(0)) {
      await peer.pc.addIceCandidate(candidate).catch((error) => this.note('pc', 'candidate refused', { user: peer.user, error: String(error) }));
    }
  }

  // A video-only stream while a main stream is remembered is taken for a screen, even after a reconnect.
  onTrack(peer, event) {
    const [stream] = event.streams;
    if (!stream) return this.fault(`track of ${peer.user} without a stream ignored`);
    const main = this.mainStreams.get(peer.user);
    const videoOnly = stream.getVideoTracks().length > 0 && stream.getAudioTracks().length === 0;
    if (main && main.id !== stream.id && videoOnly) return this.playScreen(peer.user, stream);
    return this.playMain(peer.user, stream);
  }

  // ---- recovery -----------------------------------------------------------------------------

  onConnectionState(peer, state) {
    if (this.peers.get(peer.user) !== peer) return;
    if (state === 'connected') this.attempts.delete(peer.user);
    if (state === 'failed') this.scheduleRebuild(peer.user);
  }

  scheduleRebuild(user) {
    const attempt = this.attempts.get(user) ?? 0;
    if (attempt >= RETRY_DELAYS.length) {
      this.attempts.delete(user);
      return this.note('pc', 'reconnect-failed', { user });
    }
    this.attempts.set(user, attempt + 1);
    // Nothing cancels this when the user leaves.
    return setTimeout(() => {
      if (this.peers.get(user)?.pc.connectionState !== 'connected') this.rebuild(user);
    }, RETRY_DELAYS[attempt]);
  }

  /** Closes the connection to a user and makes a new one, as recovery does. */
  rebuild(user) {
    this.closePeer(user);
    const peer = this.createPeer(user);
    if (this.recovery === 'seeds') return this.enqueueOffer(peer);
    try {
      this.addOwnTracks(peer);
    } catch (error) {
      this.fault(`rebuild: ${error}`);
      this.scheduleRebuild(user);
    }
    return undefined;
  }

  // ---- screen -------------------------------------------------------------------------------

  /** Adds a track to every connection that exists now; later ones do not get it. */
  share() {
    const { stream, track } = this.openScreen();
    for (const { pc } of this.peers.values()) pc.addTrack(track, stream);
    this.emit('media:screen-share', { isSharing: true });
  }

  // The sender is looked for by the label, so a window or tab stays as a frozen m-line.
  unshare() {
    for (const { pc } of this.peers.values()) {
      const sender = pc.getSenders().find((each) => each.track?.label.includes('screen'));
      if (sender) pc.removeTrack(sender);
    }
    this.closeScreen();
    this.emit('media:screen-share', { isSharing: false });
  }
}

function plain({ type, sdp }) {
  return { type, sdp };
}

async function signalingState(pc, wanted, deadline) {
  const until = performance.now() + deadline;
  while (pc.signalingState !== wanted && pc.signalingState !== 'closed') {
    if (performance.now() > until) return false;
    await sleep(10);
  }
  return true;
}

publish(new V2Member(readOptions()));
