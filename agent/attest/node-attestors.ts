import type { AgentConfig } from '../config.ts';
import { createJoinToken } from './join-token.ts';
import type { NodeAttestor } from './node-attestor.ts';
import { createX509Pop } from './x509pop.ts';

/** The attestor that the configuration names. */
export function createNodeAttestor(attestor: AgentConfig['attestor']): NodeAttestor {
  return attestor.kind === 'x509pop' ? createX509Pop(attestor.value) : createJoinToken(attestor.value);
}
