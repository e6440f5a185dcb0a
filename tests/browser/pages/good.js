// A well-behaved member for comparison: perfect negotiation (W3C webrtc-pc, section 10.7) under the names
// media:*, every candidate sent, every offer of a member answered.

import { Member, publish, readOptions } from './member.js';

class GoodMember extends Member {
  listenToSignaling() {
    this.listen('media:peer-ready', ({ userId }) => this.openPeer(userId));
    this.listen('media:offer', ({ fromUserId, offer }) => this.onDescription(fromUserId, offer));
    this.listen('media:answer', ({ fromUserId, answer }) => this.onDescription(fromUserId, answer));
    this.listen('media:ice-candidate', ({ fromUserId, candidate }) => this.onCandidate(fromUserId, candidate));
  }

  announce() {
    this.reportMuted();
    this.reportVideoOff();
    this.emit('media:ready', { roomId: this.meeting, userId: this.user });
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

  openPeer(user) {
    if (!user || user === this.user || !this.stream) return null;
    return this.peers.get(user) ?? this.createPeer(user);
  }

  createPeer(user) {
    const peer = this.newPeer(user, { polite: this.user > user, makingOffer: false, applied: new Set(), waiting: [] });
    const { pc } = peer;
    pc.addEventListener('icecandidate', ({ candidate }) => {
      if (candidate?.candidate) this.signal('ice-candidate', user, { candidate: candidate.toJSON() });
    });
    pc.addEventListener('negotiationneeded', async () => {
      try {
        peer.makingOffer = true;
        await pc.setLocalDescription();
        this.signal('offer', user, { offer: plain(pc.localDescription) });
      } catch (error) {
        this.fault(`offer: ${error}`);
      } finally {
        peer.makingOffer = false;
      }
    });
    this.addOwnTracks(peer);
    return peer;
  }

  signal(kind, user, content) {
    this.emit(`media:${kind}`, { roomId: this.meeting, targetUserId: user, ...content });
  }

  async onDescription(user, description) {
    const peer = this.peers.get(user) ?? this.createPeer(user);
    const { pc } = peer;
    if (peer.applied.has(description.sdp)) return;
    if (description.type === 'answer' && pc.signalingState !== 'have-local-offer') return;
    const collision = description.type === 'offer' && (peer.makingOffer || pc.signalingState !== 'stable');
    if (collision && !peer.polite) return;
    peer.applied.add(description.sdp);
    await pc.setRemoteDescription(description);
    for (const candidate of peer.waiting.splice(0)) await pc.addIceCandidate(candidate);
    if (description.type !== 'offer') return;
    await pc.setLocalDescription();
    this.signal('answer', user, { answer: plain(pc.localDescription) });
  }

  async onCandidate(user, candidate) {
    const peer = this.peers.get(user);
    if (!peer) return;
    if (!peer.pc.remoteDescription) peer.waiting.push(candidate);
    else await peer.pc.addIceCandidate(candidate).catch((error) => this.note('pc', 'candidate refused', { user, error: String(error) }));
  }

  rebuild(user) {
    this.closePeer(user);
    this.createPeer(user);
  }
}

function plain({ type, sdp }) {
  return { type, sdp };
}

publish(new GoodMember(readOptions()));
