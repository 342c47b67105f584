/** Proves to the CA on which node the agent runs. */
export interface NodeAttestor {
  /** The type as it goes on the wire, such as `join_token`. */
  readonly type: string;
  /** What to do when the CA refuses the proof. */
  readonly remedy?: string;
  /** Reads anew, each time, what the proof is made from. */
  prepare(): Promise<AttestationProof>;
}

/** One attempt to prove it. */
export interface AttestationProof {
  readonly payload: Uint8Array;
  /** Answers a challenge of the CA; absent for a proof that has none. */
  answer?(challenge: Uint8Array): Uint8Array;
}
