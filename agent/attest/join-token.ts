import { IdentityError } from '../../core/errors.ts';
import type { NodeAttestor } from './node-attestor.ts';
import { readSecret } from '../../runtime/secret-file.ts';

/** Attests with the join token that a file holds. The token works once; after that the agent renews its SVID. */
export function createJoinToken(file: string): NodeAttestor {
  return {
    type: 'join_token',
    remedy: `a join token works once and for a limited time; make a new one with: countersign token --write-to ${file}`,
    async prepare() {
      const token = (await readSecret(file, 'join token')).trim();
      if (token === '') throw new IdentityError('failed_precondition', `the join token file ${file} is empty`);
      return { payload: Buffer.from(token, 'utf8') };
    },
  };
}
