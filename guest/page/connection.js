// One RTCPeerConnection to one member: perfect negotiation (W3C webrtc-pc, section 10.7), candidates, own tracks.

const EARLY_CANDIDATES = 100;
const SETTLED_KEPT = 30;
// The smaller id lets the greater one offer first. Both may offer, but a collision costs a round trip.
const COURTESY = 400;
const ANSWER_WAIT = 3000;
const REPEATS = 5;

/** The certificate behind a description: another one means another connection of the peer. */
function fingerprint(sdp) {
  return /^a=fingerprint:(.+)$/m.exec(sdp)?.[1].trim().toLowerCase() ?? null;
}

function iceUser(sdp) {
  return /^a=ice-ufrag:(.+)$/m.exec(sdp)?.[1].trim() ?? null;
}

// A box keeps its own offer in a collision with a browser, whatever the ids say.
function isFromBox(sdp) {
  return /^a=tool:huddled/m.test(sdp);
}

/** Candidates of a member that came before the description they belong to; they outlive a connection. */
export class EarlyCandidates {
  waiting = [];

  add(candidate) {
    this.waiting.push(candidate);
    if (this.waiting.length > EARLY_CANDIDATES) this.waiting.shift();
  }

  /** Takes out those that fit a remote description. */
  take(sdp) {
    const fitting = this.waiting.filter((candidate) => fits(candidate, sdp));
    this.waiting = this.waiting.filter((candidate) => !fits(candidate, sdp));
    return fitting;
  }
}

function fits(candidate, sdp) {
  const user = candidate.usernameFragment ?? / ufrag (\S+)/.exec(candidate.candidate ?? '')?.[1];
  return !user || sdp.split(/\r?\n/).includes(`a=ice-ufrag:${user}`);
}

/**
 * Offers and answers of a member that were taken or turned down. Servers repeat messages, and a late copy from a
 * connection that is gone looks just like news from a fresh one; so this outlives a connection too.
 */
export class Settled {
  texts = [];

  has({ sdp }) {
    return this.texts.includes(sdp);
  }

  add({ sdp }) {
    this.texts.push(sdp);
    if (this.texts.length > SETTLED_KEPT) this.texts.shift();
  }
}

export class Connection {
  /**
   * @param {{polite: boolean, prompt: boolean, iceServers: RTCIceServer[], media: object, early: EarlyCandidates,
   *   settled: Settled, send: (kind: string, content: object) => boolean, ready: () => boolean,
   *   enqueue: (task: () => Promise<void>) => void, fault: (text: string) => void, state: () => void,
   *   track: (event: RTCTrackEvent) => void, foreign: (offer: object | null) => void}} options
   *   `prompt`: offer at once although our id is the smaller; `foreign`: this connection does not fit what the peer
   *   answers or offers (then with the offer), and a new one is needed
   */
  constructor(options) {
    Object.assign(this, options);
    this.closed = false;
    this.heard = new Set();
    this.outgoing = [];
    this.described = false;
    this.wanted = false;
    this.held = !this.polite && !this.prompt;
    this.pc = new RTCPeerConnection({ iceServers: this.iceServers });
    const on = (event, handler) => this.pc.addEventListener(event, (each) => this.closed || handler(each));
    on('negotiationneeded', () => {
      this.wanted = true;
      this.offerIfDue();
    });
    on('icecandidate', ({ candidate }) => {
      if (!candidate?.candidate) return;
      this.outgoing.push(candidate.toJSON());
      this.flushOutgoing();
    });
    on('connectionstatechange', () => this.state());
    on('iceconnectionstatechange', () => this.state());
    on('track', (event) => this.track(event));
    this.addOwnTracks();
    if (this.held) this.courtesy = setTimeout(() => this.release(), COURTESY);
  }

  // ---- own tracks ---------------------------------------------------------------------------

  addOwnTracks() {
    const { media, pc } = this;
    this.audioSender = pc.addTrack(media.audioTrack, media.stream);
    // addTrack needs a track, and only what addTrack made pairs with the m-line of a peer's offer. So a placeholder
    // makes the m-line with the main stream's id, and gives way at once.
    this.videoSender = pc.addTrack(media.cameraTrack ?? media.placeholder(), media.stream);
    if (!media.cameraTrack) this.replace(this.videoSender, null);
    if (media.screenStream) this.setScreen(media.screenStream);
  }

  refreshAudio() {
    this.replace(this.audioSender, this.media.audioTrack);
  }

  refreshCamera() {
    this.replace(this.videoSender, this.media.cameraTrack);
  }

  /** Starts or (with null) ends the share, always on the same m-line. */
  setScreen(stream) {
    const track = stream?.getVideoTracks()[0] ?? null;
    if (!this.screen) {
      if (!track) return;
      // Not addTrack: that would take the camera's sender while it has no track. And sendrecv, because a browser that
      // begins a share of its own puts it on this m-line.
      this.screen = this.pc.addTransceiver(track, { direction: 'sendrecv', streams: [stream] });
      return;
    }
    if (track) this.screen.sender.setStreams(stream);
    this.screen.direction = track ? 'sendrecv' : 'recvonly';
    this.replace(this.screen.sender, track);
  }

  /** Offers a spare m-line to a peer that announced a share but, by its rules, may not offer it. */
  pullScreen() {
    if (this.spare) return;
    this.spare = this.pc.addTransceiver('video', { direction: 'recvonly' });
  }

  replace(sender, track) {
    sender.replaceTrack(track).catch((error) => this.complain(`replaceTrack: ${error}`));
  }

  // ---- own offers ---------------------------------------------------------------------------

  release() {
    clearTimeout(this.courtesy);
    this.held = false;
    this.offerIfDue();
  }

  /** Something may have changed that kept an offer back: the socket, the courtesy. */
  offerIfDue() {
    if (this.closed || this.held || !this.wanted) return;
    this.enqueue(() => this.makeOffer());
  }

  async makeOffer() {
    if (this.closed || !this.wanted || this.pc.signalingState !== 'stable' || !this.ready()) return;
    this.wanted = false;
    this.insisted = false;
    await this.describe('offer');
    this.awaitAnswer(0);
  }

  /** Repeats an offer that gets no answer; browsers of the application lose offers that come at a bad moment. */
  awaitAnswer(repeats) {
    clearTimeout(this.answerTimer);
    this.answerTimer = setTimeout(() => {
      if (this.closed || this.pc.signalingState !== 'have-local-offer') return;
      this.repeatOffer();
      if (repeats < REPEATS) this.awaitAnswer(repeats + 1);
    }, ANSWER_WAIT);
  }

  async describe(kind) {
    this.described = false;
    await this.pc.setLocalDescription();
    if (this.closed) return;
    this.sendDescription(kind);
  }

  sendDescription(kind) {
    const { type, sdp } = this.pc.localDescription;
    this.sent = { [kind]: { type, sdp } };
    this.described = this.send(kind, this.sent);
    this.flushOutgoing();
  }

  /** The peer may have thrown our offer away, because it came before the peer was ready. */
  repeatOffer() {
    if (this.closed || this.pc.signalingState !== 'have-local-offer' || !this.sent?.offer) return;
    // Word for word, so that a peer that has it can tell: the local description grows by candidates meanwhile.
    if (this.send('offer', this.sent)) this.described = true;
    this.flushOutgoing();
  }

  restartIce() {
    this.held = false;
    this.pc.restartIce();
  }

  /** Ours go out only after the description they belong to. */
  flushOutgoing() {
    while (this.described && this.outgoing.length > 0) {
      if (!this.send('ice-candidate', { candidate: this.outgoing[0] })) return;
      this.outgoing.shift();
    }
  }

  // ---- what the peer says -------------------------------------------------------------------

  /** @returns {Promise<boolean>} whether the offer was taken */
  async acceptOffer(offer) {
    const { pc } = this;
    if (this.settled.has(offer)) return false;
    const known = pc.remoteDescription && fingerprint(pc.remoteDescription.sdp);
    if (known && fingerprint(offer.sdp) !== known) {
      this.foreign(offer);
      return false;
    }
    if (pc.signalingState !== 'stable' && !this.polite && !isFromBox(offer.sdp)) {
      // The peer yields, and answers ours; once more, in case ours never arrived. Theirs is over, also in later copies.
      this.settled.add(offer);
      if (!this.insisted) this.repeatOffer();
      this.insisted = true;
      return false;
    }
    if (pc.signalingState === 'have-local-offer' && !pc.remoteDescription) {
      // Perfect negotiation would roll back. But Chromium, if it has only just begun to look for candidates, then never
      // finds any for the answer. Nothing is lost yet, so begin afresh with the peer's offer.
      this.foreign(offer);
      return false;
    }
    this.settled.add(offer);
    clearTimeout(this.courtesy);
    this.held = false;
    await pc.setRemoteDescription(offer);
    await this.flushEarly();
    // This exchange may have settled what we wanted; if not, the browser says so again once it is over.
    this.wanted = false;
    await this.describe('answer');
    return true;
  }

  async acceptAnswer(answer) {
    const { pc } = this;
    if (this.settled.has(answer)) return;
    const current = pc.remoteDescription?.sdp;
    const foreign = current && fingerprint(answer.sdp) !== fingerprint(current);
    if (pc.signalingState !== 'have-local-offer') {
      // We took the answer to an offer of an earlier connection for the answer to ours.
      const mistaken = foreign || (current && iceUser(answer.sdp) !== iceUser(current));
      if (mistaken && this.answered && pc.connectionState !== 'connected') this.foreign(null);
      return;
    }
    if (foreign) {
      this.foreign(null);
      return;
    }
    this.settled.add(answer);
    await pc.setRemoteDescription(answer);
    this.answered = true;
    await this.flushEarly();
  }

  async acceptCandidate(candidate) {
    const description = this.pc.remoteDescription;
    if (!description || !fits(candidate, description.sdp)) {
      this.early.add(candidate);
      return;
    }
    const text = JSON.stringify(candidate);
    if (this.heard.has(text)) return;
    this.heard.add(text);
    // A candidate of an offer that we ignored or of a generation that is over: refused, and rightly.
    await this.pc.addIceCandidate(candidate).catch(() => {});
  }

  async flushEarly() {
    for (const candidate of this.early.take(this.pc.remoteDescription.sdp)) await this.acceptCandidate(candidate);
  }

  // ---- life ---------------------------------------------------------------------------------

  get connected() {
    return this.pc.connectionState === 'connected';
  }

  /** RTP packets received so far. */
  async packets() {
    let sum = 0;
    const report = await this.pc.getStats();
    report.forEach((each) => {
      if (each.type === 'inbound-rtp') sum += each.packetsReceived ?? 0;
    });
    return sum;
  }

  complain(text) {
    if (!this.closed) this.fault(text);
  }

  close() {
    this.closed = true;
    clearTimeout(this.courtesy);
    clearTimeout(this.answerTimer);
    this.pc.close();
  }
}
