/** What the CA signed, or why it did not. */
export type Issued<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly message: string };

/** An X509-SVID as the CA returns it. */
export interface IssuedX509Svid {
  /** Leaf first. */
  readonly chainDer: readonly Uint8Array[];
}

/** A token as the CA returns it: a JWT-SVID or a WIT-SVID. */
export interface IssuedToken {
  readonly token: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

/** Signs for this agent's entries. A method rejects with an IdentityError when nothing of the request could be done. */
export interface SvidIssuer {
  /** Signs many at once; results are in the order of the requests. */
  signX509Svids(
    requests: readonly { readonly entryId: string; readonly csr: Uint8Array }[],
    signal: AbortSignal,
  ): Promise<readonly Issued<IssuedX509Svid>[]>;

  signJwtSvid(request: {
    readonly entryId: string;
    readonly audience: readonly string[];
    readonly timeoutMs: number;
  }): Promise<IssuedToken>;

  /** @throws IdentityError `unimplemented` when the CA has no WIT-SVIDs */
  signWitSvids(
    requests: readonly { readonly entryId: string; readonly spki: Uint8Array }[],
    signal: AbortSignal,
  ): Promise<readonly Issued<IssuedToken>[]>;
}
