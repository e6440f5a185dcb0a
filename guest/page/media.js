// Our own microphone, camera and screen: what is captured, and what of it is sent.

import { remembered } from './link.js';

const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const SCREEN = { width: { max: 1920 }, height: { max: 1080 }, frameRate: { max: 30 } };
// Long enough for a black picture to be encoded and to survive a lost packet.
const BLACK_BEFORE_STOP = 500;

export const NAMES = { camera: 'camera', microphone: 'microphone' };

/** Why a device could not be opened, as one word. */
function reasonOf(error) {
  if (error.name === 'NotAllowedError' || error.name === 'SecurityError') return 'denied';
  if (error.name === 'NotFoundError' || error.name === 'OverconstrainedError') return 'missing';
  return 'busy';
}

const REASONS = {
  denied: (what) => `The browser may not use the ${what}. Allow that in the browser’s settings for this page, then press the button again.`,
  missing: (what) => `No ${what} was found.`,
  busy: (what) => `The ${what} could not be started; another program may be using it.`,
  insecure: (what) => `The browser does not give the ${what} to a page opened over plain http. Ask for a link that begins with https, or open it on the hub’s own machine.`,
  unsupported: (what) => `This browser offers no ${what} to pages.`,
};

/**
 * Events: `state` (a flag or a problem changed), `audio`, `camera`, `screen` (the track to send changed),
 * `devices` (the list changed), `notice` (detail: a sentence for the person).
 */
export class LocalMedia extends EventTarget {
  constructor() {
    super();
    /** Gives the main stream its id; which tracks are sent in it is said by the senders. */
    this.stream = new MediaStream();
    this.microphone = null;
    this.camera = null;
    this.screenStream = null;
    this.muted = false;
    this.videoOff = false;
    /** @type {{camera: string | null, microphone: string | null}} */
    this.problems = { camera: null, microphone: null };
    this.chosen = remembered.devices();
    navigator.mediaDevices?.addEventListener('devicechange', () => this.tell('devices'));
  }

  tell(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }

  /** Why there is none of `kind`, as a sentence, or null. */
  problemOf(kind) {
    const problem = this.problems[kind];
    return problem && REASONS[problem](NAMES[kind]);
  }

  /** All problems; one that both devices have is said once. */
  problemSentences() {
    const { camera, microphone } = this.problems;
    if (camera && camera === microphone && camera !== 'busy') return [REASONS[camera]('camera or the microphone')];
    return ['camera', 'microphone'].map((kind) => this.problemOf(kind)).filter(Boolean);
  }

  // ---- opening ------------------------------------------------------------------------------

  /** Opens what is wanted with one question to the person. */
  async open() {
    const wanted = { audio: !this.microphone, video: !this.videoOff && !this.camera };
    if (!wanted.audio && !wanted.video) return;
    try {
      const stream = await this.capture({
        audio: wanted.audio && this.constraints('microphone'),
        video: wanted.video && this.constraints('camera'),
      });
      for (const track of stream.getTracks()) this.adopt(track.kind === 'audio' ? 'microphone' : 'camera', track);
    } catch (error) {
      // One of the two may be missing or forbidden: each for itself, without asking again for what was just denied.
      const kinds = [wanted.audio && 'microphone', wanted.video && 'camera'].filter(Boolean);
      for (const kind of kinds) {
        if (reasonOf(error) === 'denied' && !(await isGranted(kind))) this.setProblem(kind, this.explain(error));
        else await this.openOne(kind);
      }
    }
    if (!this.camera) this.setVideoOff(true);
    if (!this.microphone) this.setMuted(true);
  }

  /** Opens the chosen device of a kind, else the default one. */
  async openOne(kind) {
    const type = kind === 'camera' ? 'video' : 'audio';
    try {
      const stream = await this.capture({ [type]: this.constraints(kind) });
      this.adopt(kind, stream.getTracks()[0]);
      return true;
    } catch (error) {
      this.setProblem(kind, this.explain(error));
      return false;
    }
  }

  capture(constraints) {
    if (!navigator.mediaDevices) throw new Error('no media devices');
    return navigator.mediaDevices.getUserMedia(constraints);
  }

  explain(error) {
    if (navigator.mediaDevices) return reasonOf(error);
    return window.isSecureContext ? 'unsupported' : 'insecure';
  }

  constraints(kind) {
    const device = this.chosen[kind];
    // Not `exact`: the device of last time may be in a drawer today.
    return { ...(kind === 'camera' ? CAMERA : MICROPHONE), ...(device && { deviceId: { ideal: device } }) };
  }

  adopt(kind, track) {
    this[kind]?.stop();
    this[kind] = track;
    this.problems[kind] = null;
    track.enabled = kind === 'camera' ? !this.videoOff : !this.muted;
    if (kind === 'camera') track.contentHint = 'motion';
    // Fires for an unplugged device and a withdrawn permission, not for our own stop().
    track.addEventListener('ended', () => this.onEnded(kind, track));
    this.tell(kind === 'camera' ? 'camera' : 'audio');
    this.tell('state');
    // Names of devices are visible only once one is open.
    this.tell('devices');
  }

  setProblem(kind, problem) {
    this.problems[kind] = problem;
    this.tell('state');
  }

  async onEnded(kind, track) {
    if (this[kind] !== track) return;
    this[kind] = null;
    delete this.chosen[kind];
    if (await this.openOne(kind)) {
      this.tell('notice', `The ${NAMES[kind]} went away; “${this[kind].label}” is used now.`);
      return;
    }
    this.tell(kind === 'camera' ? 'camera' : 'audio');
    if (kind === 'camera') {
      this.setVideoOff(true);
      this.tell('notice', 'The camera is gone. Plug it in, then press the camera button.');
    } else {
      this.setMuted(true);
      this.tell('notice', 'The microphone is gone. Plug it in, then press the microphone button.');
    }
  }

  // ---- microphone ---------------------------------------------------------------------------

  /** What is sent as sound: always something, because peers know a main stream by its audio. */
  get audioTrack() {
    return this.microphone ?? this.silence();
  }

  silence() {
    if (!this.silentTrack) {
      this.audioContext = new AudioContext();
      // Safari keeps a context suspended until it is told, even inside a press.
      this.audioContext.resume().catch(() => {});
      [this.silentTrack] = this.audioContext.createMediaStreamDestination().stream.getAudioTracks();
    }
    return this.silentTrack;
  }

  /** Off is silence: the packets go on, so that nobody takes us for lost. */
  setMuted(muted) {
    this.muted = muted;
    if (this.microphone) this.microphone.enabled = !muted;
    this.tell('state');
  }

  async unmute() {
    if (!this.microphone && !(await this.openOne('microphone'))) {
      this.tell('notice', this.problemOf('microphone'));
      return false;
    }
    this.setMuted(false);
    return true;
  }

  // ---- camera -------------------------------------------------------------------------------

  /** What is sent as the camera's picture, or null. */
  get cameraTrack() {
    return this.camera;
  }

  /**
   * Off in two steps. First the track is disabled: peers get black pictures, so that none keeps a frozen one even if it
   * never hears the announcement. A moment later the device is stopped, because its lamp must go dark, and the sender
   * gets no track at all: black pictures for an hour would cost every peer an encoder, boxes and V2 browsers do the
   * same, and to come back is a replaceTrack without negotiation either way.
   */
  setVideoOff(off) {
    this.videoOff = off;
    clearTimeout(this.stopTimer);
    if (this.camera) this.camera.enabled = !off;
    if (off && this.camera) this.stopTimer = setTimeout(() => this.stopCamera(), BLACK_BEFORE_STOP);
    this.tell('state');
  }

  stopCamera() {
    this.camera?.stop();
    this.camera = null;
    this.tell('camera');
  }

  async openCamera() {
    clearTimeout(this.stopTimer);
    // Wanted from now on, so that switching off while the device starts is not overtaken by it.
    this.videoOff = false;
    if (!this.camera && !(await this.openOne('camera'))) {
      this.setVideoOff(true);
      this.tell('notice', this.problemOf('camera'));
      return false;
    }
    if (this.videoOff) {
      this.stopCamera();
      return false;
    }
    this.setVideoOff(false);
    return true;
  }

  /** A track for a moment, see connection.js. */
  placeholder() {
    if (!this.placeholderTrack) {
      const canvas = document.createElement('canvas');
      canvas.getContext('2d').fillRect(0, 0, canvas.width, canvas.height);
      [this.placeholderTrack] = canvas.captureStream(0).getVideoTracks();
    }
    return this.placeholderTrack;
  }

  // ---- choice -------------------------------------------------------------------------------

  /** @param {'camera' | 'microphone' | 'speaker'} kind */
  async choose(kind, device) {
    this.chosen[kind] = device;
    remembered.setDevices(this.chosen);
    if (kind === 'speaker') {
      this.tell('speaker');
      return;
    }
    if (kind === 'camera' && this.videoOff) return;
    // Phones cannot open two cameras at once, and some not two microphones.
    this[kind]?.stop();
    this[kind] = null;
    this.tell(kind === 'camera' ? 'camera' : 'audio');
    if (await this.openOne(kind)) return;
    this.tell('notice', this.problemOf(kind));
    if (kind === 'camera') this.setVideoOff(true);
    else this.setMuted(true);
  }

  // ---- screen -------------------------------------------------------------------------------

  get sharing() {
    return Boolean(this.screenStream);
  }

  get canShare() {
    return Boolean(navigator.mediaDevices?.getDisplayMedia);
  }

  async share() {
    let stream;
    try {
      stream = await navigator.mediaDevices.getDisplayMedia({ video: SCREEN, audio: false });
    } catch (error) {
      if (error.name !== 'NotAllowedError') this.tell('notice', `The screen could not be shared: ${error.message}`);
      return;
    }
    const [track] = stream.getVideoTracks();
    track.contentHint = 'detail';
    // The browser's own bar has a button to stop.
    track.addEventListener('ended', () => this.screenStream === stream && this.unshare());
    this.screenStream = stream;
    this.tell('screen');
    this.tell('state');
  }

  unshare() {
    for (const track of this.screenStream?.getTracks() ?? []) track.stop();
    this.screenStream = null;
    this.tell('screen');
    this.tell('state');
  }

  /** Lets go of every device. */
  close() {
    clearTimeout(this.stopTimer);
    if (this.screenStream) this.unshare();
    for (const kind of ['microphone', 'camera']) {
      this[kind]?.stop();
      this[kind] = null;
    }
    this.audioContext?.close();
    this.audioContext = null;
    this.silentTrack = null;
  }
}

// Browsers that do not know the question have asked the person already: take that for an answer.
async function isGranted(kind) {
  try {
    return (await navigator.permissions.query({ name: kind })).state === 'granted';
  } catch {
    return false;
  }
}
