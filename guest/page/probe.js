// What tests may read. It opens, closes and sends nothing.

/** @param {object} page */
export function publish(page) {
  const unexpected = [];
  window.addEventListener('error', ({ message }) => unexpected.push(message));
  window.addEventListener('unhandledrejection', ({ reason }) => unexpected.push(String(reason)));
  window.huddled = Object.freeze({ read: () => read(page, unexpected) });
}

function read({ state, meeting, lastMeeting, media, stage }, unexpected) {
  const peers = {};
  for (const member of meeting?.members.values() ?? []) {
    const { pc } = member.connection ?? {};
    const share = stage.tiles.get(`share ${member.id}`);
    peers[member.id] = {
      name: member.name,
      role: member.role,
      connectionState: pc?.connectionState ?? 'new',
      iceConnectionState: pc?.iceConnectionState ?? 'new',
      signalingState: pc?.signalingState ?? 'stable',
      phase: member.recovery?.phase ?? null,
      attempts: member.recovery?.attempts ?? 0,
      connections: member.connections,
      badge: member.badge,
      muted: member.muted,
      videoOff: member.videoOff,
      sharing: Boolean(member.shownShare),
      pictured: stage.tiles.get(member.id)?.root.classList.contains('pictured') ?? false,
      video: stage.tiles.get(member.id)?.read() ?? null,
      share: share?.read() ?? null,
    };
  }
  return {
    state,
    joined: meeting?.joined ?? false,
    userId: (meeting ?? lastMeeting)?.ownId ?? null,
    role: meeting?.role ?? null,
    muted: media.muted,
    videoOff: media.videoOff,
    sharing: media.sharing,
    problems: { ...media.problems },
    banner: meeting?.banner ?? '',
    connected: meeting?.connected ?? 0,
    peers,
    errors: [...((meeting ?? lastMeeting)?.errors ?? []), ...unexpected],
  };
}
