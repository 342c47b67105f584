/** What a service of the demo tells the terminal. */
export type ServiceEvent =
  | {
      readonly event: 'identity';
      readonly verb: 'got' | 'rotated';
      readonly id: string;
      readonly serial: string;
      readonly expiresAtMs: number;
    }
  | { readonly event: 'listening' }
  | { readonly event: 'call'; readonly ok: boolean; readonly detail: string }
  /** What another service said to a call that policy does not allow. */
  | { readonly event: 'denied'; readonly status: number; readonly message: string }
  | { readonly event: 'refused'; readonly reason: string };
