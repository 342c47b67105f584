import { IdentityError } from '../../core/errors.ts';
import type { AgentConfig } from '../config.ts';
import { readSecret } from './secret-file.ts';
import { createX509Pop } from './x509pop.ts';

/** Proves to the CA on which node the agent runs. */
export interface NodeAttestor {
  /** The type as it goes on the wire, such as `join_token`. */
  readonly type: string;
  /** Reads anew, each time, what the proof is made from. */
  prepare(): Promise<AttestationProof>;
}

/** One attempt to prove it. */
export interface AttestationProof {
  readonly payload: Uint8Array;
  /** Answers a challenge of the CA; absent for a proof that has none. */
  answer?(challenge: Uint8Array): Uint8Array;
}

/** The attestor that the configuration names. */
export function createNodeAttestor(attestor: AgentConfig['attestor']): NodeAttestor {
  return attestor.kind === 'x509pop' ? createX509Pop(attestor.value) : createJoinToken(attestor.value);
}

function createJoinToken(file: string): NodeAttestor {
  return {
    type: 'join_token',
    async prepare() {
      const token = (await readSecret(file, 'join token')).trim();
      if (token === '') throw new IdentityError('failed_precondition', `the join token file ${file} is empty`);
      return { payload: Buffer.from(token, 'utf8') };
    },
  };
}
