/** Hear an event wherever on the page it happens, before the page can stop it. */
export const listen = <Name extends keyof (WindowEventMap & DocumentEventMap)>(
  name: Name,
  handler: (event: (WindowEventMap & DocumentEventMap)[Name]) => void,
): void => addEventListener(name, handler as EventListener, true);
