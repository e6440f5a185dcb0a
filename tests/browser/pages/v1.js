// A member in the manner of the application's first browser hook ("V1"), with its defects: whoever receives
// a ready makes a new connection, leaves the old one open, and offers; adding the tracks makes a second offer
// about 100 ms later; an offer while an own one is outstanding closes, recreates and answers; negotiations
// that come while another is running are lost. It reports its microphone and camera by names that no server
// handles.

import { Member, publish, readOptions } from './member.js';

const PAUSE = 100;
const RESTART_DELAYS = [1000, 2000, 4000];

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

class V1Member extends Member {
  constructor(options) {
    super(options);
    /** Candidates per user, without limit; they may come before the offer. */
    this.incoming = new Map();
    this.attempts = new Map();
    this.swapping = false;
  }

  listenToSignaling() {
    this.listen('webrtc:peer-ready', ({ userId }) => this.onPeerReady(userId));
    this.listen('webrtc:offer', ({ fromUserId, targetUserId, offer }) => this.onOffer(fromUserId ?? targetUserId, offer));
    this.listen('webrtc:answer', ({ fromUserId, targetUserId, answer }) => this.onAnswer(fromUserId ?? targetUserId, answer));
    this.listen('webrtc:ice-candidate', ({ fromUserId, targetUserId, candidate }) => this.onCandidate(fromUserId ?? targetUserId, candidate));
  }

  announce() {
    this.reportMuted();
    this.reportVideoOff();
    this.emit('webrtc:ready', { roomId: this.meeting, userId: this.user });
    this.emit('meeting:request-peers', {});
  }

  reportMuted() {
    this.emit('toggle-audio', { enabled: !this.muted });
  }

  reportVideoOff() {
    this.emit('toggle-video', { enabled: !this.videoOff });
  }

  // ---- negotiation --------------------------------------------------------------------------

  async onPeerReady(user) {
    if (!user || user === this.user || !this.stream) return;
    const peer = this.createPeer(user);
    await this.offer(peer);
  }

  /** A new connection; one that exists stays open and is forgotten. */
  createPeer(user) {
    const old = this.peers.get(user);
    if (old) this.abandoned.push(old);
    const peer = this.newPeer(user);
    peer.pc.addEventListener('icecandidate', ({ candidate }) => {
      if (candidate?.candidate) this.emit('webrtc:ice-candidate', { targetUserId: user, candidate: candidate.toJSON() });
    });
    peer.pc.addEventListener('negotiationneeded', async () => {
      await sleep(PAUSE);
      if (peer.pc.signalingState !== 'stable' || this.swapping) return;
      await this.offer(peer).catch((error) => this.fault(`negotiation: ${error}`));
    });
    if (this.stream) this.addOwnTracks(peer);
    if (this.screen) peer.pc.addTrack(this.screen.track, this.screen.stream);
    return peer;
  }

  async offer(peer) {
    await peer.pc.setLocalDescription(await peer.pc.createOffer());
    this.emit('webrtc:offer', { targetUserId: peer.user, offer: plain(peer.pc.localDescription) });
  }

  async onOffer(user, offer) {
    let peer = this.peers.get(user);
    if (peer && peer.pc.signalingState === 'have-local-offer') {
      this.closePeer(user);
      peer = null;
    }
    peer ??= this.createPeer(user);
    await peer.pc.setRemoteDescription(offer);
    await this.flushCandidates(peer);
    await peer.pc.setLocalDescription(await peer.pc.createAnswer());
    this.emit('webrtc:answer', { targetUserId: user, answer: plain(peer.pc.localDescription) });
  }

  async onAnswer(user, answer) {
    const peer = this.peers.get(user);
    if (!peer || peer.pc.signalingState !== 'have-local-offer') return this.fault(`answer from ${user} not expected`);
    await peer.pc.setRemoteDescription(answer);
    return this.flushCandidates(peer);
  }

  async onCandidate(user, candidate) {
    const peer = this.peers.get(user);
    if (peer?.pc.remoteDescription) return peer.pc.addIceCandidate(candidate);
    this.incoming.set(user, [...(this.incoming.get(user) ?? []), candidate]);
    return undefined;
  }

  async flushCandidates(peer) {
    const waiting = this.incoming.get(peer.user) ?? [];
    this.incoming.delete(peer.user);
    for (const candidate of waiting) {
      await peer.pc.addIceCandidate(candidate).catch((error) => this.note('pc', 'candidate refused', { user: peer.user, error: String(error) }));
    }
  }

  // Fails on a track without a stream, as the application's page does.
  onTrack(peer, event) {
    const [stream] = event.streams;
    const main = this.mainStreams.get(peer.user);
    if (stream.getAudioTracks().length === 0 && main && main.id !== stream.id) return this.playScreen(peer.user, stream);
    return this.playMain(peer.user, stream);
  }

  // ---- recovery -----------------------------------------------------------------------------

  onConnectionState(peer, state) {
    if (this.peers.get(peer.user) !== peer) return;
    if (state === 'connected') this.attempts.delete(peer.user);
    if (state !== 'failed') return;
    const attempt = this.attempts.get(peer.user) ?? 0;
    if (attempt >= RESTART_DELAYS.length) return;
    this.attempts.set(peer.user, attempt + 1);
    setTimeout(() => peer.pc.signalingState !== 'closed' && peer.pc.restartIce(), RESTART_DELAYS[attempt]);
  }

  /** A new connection to a user, the old one left open. */
  async rebuild(user) {
    await this.offer(this.createPeer(user));
  }

  // ---- screen -------------------------------------------------------------------------------

  /** A transceiver of its own, and an offer to everybody at once whatever the ids. */
  async share() {
    const { stream, track } = this.openScreen();
    for (const peer of this.peers.values()) {
      peer.screen = peer.pc.addTransceiver(track, { direction: 'sendonly', streams: [stream] });
      await this.offer(peer);
    }
    this.emit('screen-share', { enabled: true });
  }

  async unshare() {
    for (const { screen } of this.peers.values()) await screen?.sender.replaceTrack(null);
    this.closeScreen();
    this.emit('screen-share', { enabled: false });
  }
}

function plain({ type, sdp }) {
  return { type, sdp };
}

publish(new V1Member(readOptions()));
