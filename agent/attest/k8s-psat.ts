import { IdentityError } from '../../core/errors.ts';
import type { NodeAttestor } from './node-attestor.ts';
import { readSecret } from '../../runtime/secret-file.ts';

/** Where the agent's token is, and for which cluster. */
export interface K8sPsatOptions {
  /** As the CA's configuration calls it. */
  readonly cluster: string;
  /** A projected service-account token of the audience that the CA asks for; the kubelet replaces it as it ages. */
  readonly tokenFile: string;
}

/** Attests with the projected service-account token of the agent's own pod, as SPIRE's agent does. */
export function createK8sPsat({ cluster, tokenFile }: K8sPsatOptions): NodeAttestor {
  return {
    type: 'k8s_psat',
    remedy: `check that attestors.k8sPsat of the CA allows this service account in the cluster "${cluster}", and the audience of ${tokenFile}`,
    async prepare() {
      const token = (await readSecret(tokenFile, 'service-account token')).trim();
      if (token === '') throw new IdentityError('unavailable', `the service-account token file ${tokenFile} is empty`);
      return { payload: Buffer.from(JSON.stringify({ cluster, token }), 'utf8') };
    },
  };
}
