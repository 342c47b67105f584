import type { AgentConfig } from '../config.ts';
import { createJoinToken } from './join-token.ts';
import { createK8sPsat } from './k8s-psat.ts';
import type { NodeAttestor } from './node-attestor.ts';
import { createX509Pop } from './x509pop.ts';

/** The attestor that the configuration names. */
export function createNodeAttestor(attestor: AgentConfig['attestor']): NodeAttestor {
  switch (attestor.kind) {
    case 'x509pop':
      return createX509Pop(attestor.value);
    case 'k8sPsat':
      return createK8sPsat(attestor.value);
    default:
      return createJoinToken(attestor.value);
  }
}
