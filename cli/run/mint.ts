import { createPublicKey } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import { buildCsr } from '../../spiffe/csr-builder.ts';
import { createKeyPair, privateKeyOf } from '../../spiffe/key-pair.ts';
import { IdentityError } from '../../core/errors.ts';
import { Bundle as BundleService } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { SVID } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import { connectCa } from '../ca-connection.ts';
import type { CommandRun, Invocation } from '../command.ts';
import { ttlOfOption, wireId } from '../entry-fields.ts';
import { formatSeconds } from '../output.ts';
import { replaceFile } from '../svid-files.ts';

/** `countersign x509 mint` */
export const mintX509: CommandRun = async (invocation) => {
  const id = parseSpiffeId(invocation.requiredText('spiffe-id'));
  const pair = createKeyPair();
  using connection = await connectCa(invocation);
  const { svid } = await connection
    .client(SVID)
    .mintX509SVID({ csr: buildCsr(pair, id, invocation.texts('dns')), ttl: ttlOfOption(invocation, 'ttl') ?? 0 });
  if (svid === undefined) throw new IdentityError('internal', 'the CA answered without an SVID');
  const { x509Authorities } = await connection.client(BundleService).getBundle({});
  const files: Readonly<Record<string, string>> = {
    'svid.pem': svid.certChain.map((der) => encodePem('CERTIFICATE', der)).join(''),
    'key.pem': encodePem('PRIVATE KEY', pair.privateKeyPkcs8Der),
    'bundle.pem': x509Authorities.map(({ asn1 }) => encodePem('CERTIFICATE', asn1)).join(''),
  };
  await deliver(invocation, files, `X.509-SVID of ${id.toString()}, valid until ${formatSeconds(svid.expiresAt)}`);
  return 0;
};

/** `countersign jwt mint` */
export const mintJwt: CommandRun = async (invocation) => {
  using connection = await connectCa(invocation);
  const { svid } = await connection.client(SVID).mintJWTSVID({
    id: wireId(invocation.requiredText('spiffe-id')),
    audience: [...invocation.texts('audience')],
    ttl: ttlOfOption(invocation, 'ttl') ?? 0,
  });
  if (svid === undefined) throw new IdentityError('internal', 'the CA answered without an SVID');
  const file = invocation.text('write');
  if (file === undefined) invocation.terminal.write(`${svid.token}\n`);
  else {
    await replaceFile(resolve(invocation.terminal.cwd, file), svid.token, 0o600);
    invocation.terminal.write(`wrote ${file}; valid until ${formatSeconds(svid.expiresAt)}\n`);
  }
  return 0;
};

/** `countersign wit mint` */
export const mintWit: CommandRun = async (invocation) => {
  const pair = createKeyPair();
  using connection = await connectCa(invocation);
  const { svid } = await connection.client(SVID).mintWITSVID({
    id: wireId(invocation.requiredText('spiffe-id')),
    publicKey: createPublicKey({ key: Buffer.from(pair.spki), format: 'der', type: 'spki' }).export({
      type: 'spki',
      format: 'der',
    }),
    signingAlgorithm: 'ES256',
    ttl: ttlOfOption(invocation, 'ttl') ?? 0,
  });
  if (svid === undefined) throw new IdentityError('internal', 'the CA answered without an SVID');
  const key = JSON.stringify({ ...privateKeyOf(pair).export({ format: 'jwk' }), alg: 'ES256' });
  await deliver(
    invocation,
    { 'svid.token': `${svid.token}\n`, 'key.jwk': `${key}\n` },
    `WIT-SVID valid until ${formatSeconds(svid.expiresAt)}`,
  );
  return 0;
};

/** Writes the files into the folder of `--write`, everything in mode 0600, or prints them one after the other. */
async function deliver(invocation: Invocation, files: Readonly<Record<string, string>>, what: string): Promise<void> {
  const folder = invocation.text('write');
  if (folder === undefined) {
    for (const content of Object.values(files)) invocation.terminal.write(content);
    return;
  }
  const path = resolve(invocation.terminal.cwd, folder);
  await mkdir(path, { recursive: true, mode: 0o700 });
  for (const [name, content] of Object.entries(files)) await replaceFile(join(path, name), content, 0o600);
  invocation.terminal.write(`${what}: wrote ${Object.keys(files).join(', ')} into ${folder}\n`);
}
