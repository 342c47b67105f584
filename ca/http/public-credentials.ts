import type { Source } from '../../core/current.ts';
import type { ServerSvid } from '../issue/issuer.ts';
import { tlsCredentials } from '../server-svid.ts';
import type { PublicCredentials } from './public-listener.ts';

/** The CA's own SVID, as it is replaced. */
export function ownCredentials(svid: Source<ServerSvid>): Source<PublicCredentials> {
  const read = (value: ServerSvid): PublicCredentials => {
    const { cert, key } = tlsCredentials(value);
    return { certificatePem: cert, privateKeyPem: key };
  };
  return {
    get value() {
      return read(svid.value);
    },
    subscribe: (listener) => svid.subscribe((next) => listener(read(next))),
  };
}
