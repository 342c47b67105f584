import { readFile } from 'node:fs/promises';
import { Current, type Source } from '../../core/current.ts';
import type { PublicTlsConfig } from '../config.ts';
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

/** A certificate from files, read once. */
export async function fileCredentials({ certFile, keyFile }: PublicTlsConfig): Promise<Source<PublicCredentials>> {
  return new Current({ certificatePem: await readFile(certFile, 'utf8'), privateKeyPem: await readFile(keyFile, 'utf8') });
}
