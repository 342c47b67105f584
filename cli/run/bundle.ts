import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { text as readStream } from 'node:stream/consumers';

import {
  BatchDeleteFederatedBundleRequest_Mode,
  Bundle as BundleService,
} from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import type { Status } from '../../proto/gen/spire/api/types/status_pb.ts';
import { parseWireBundle, wireBundle } from '../../runtime/bundle-conversion.ts';
import { IdentityError } from '../../core/errors.ts';
import { Bundle, formatBundleDocument, parseBundleDocument, X509Authority } from '../../spiffe/bundle.ts';
import { encodePem, parsePemCertificates } from '../../spiffe/certificate.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { connectCa } from '../ca-connection.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';

const MODES: Readonly<Record<string, BatchDeleteFederatedBundleRequest_Mode>> = {
  restrict: BatchDeleteFederatedBundleRequest_Mode.RESTRICT,
  delete: BatchDeleteFederatedBundleRequest_Mode.DELETE,
  dissociate: BatchDeleteFederatedBundleRequest_Mode.DISSOCIATE,
};

/** `countersign bundle show` */
export const showBundle: CommandRun = async (invocation) => {
  const format = bundleFormat(invocation);
  using connection = await connectCa(invocation);
  const bundle = parseWireBundle(await connection.client(BundleService).getBundle({}));
  invocation.terminal.write(formatBundle(bundle, format));
  return 0;
};

/** `countersign bundle list` */
export const listBundles: CommandRun = async (invocation) => {
  const format = bundleFormat(invocation);
  const only = invocation.text('trust-domain');
  using connection = await connectCa(invocation);
  const client = connection.client(BundleService);
  const bundles =
    only === undefined
      ? (await client.listFederatedBundles({})).bundles
      : [await client.getFederatedBundle({ trustDomain: only })];
  for (const wire of bundles) {
    if (only === undefined && format === 'pem') invocation.terminal.write(`# ${wire.trustDomain}\n`);
    invocation.terminal.write(formatBundle(parseWireBundle(wire), format));
  }
  return 0;
};

/** `countersign bundle set` */
export const setBundle: CommandRun = async (invocation) => {
  const trustDomain = parseTrustDomain(invocation.requiredText('trust-domain'));
  const file = invocation.text('file');
  const text =
    file === undefined ? await readStream(process.stdin) : await readFile(resolve(invocation.terminal.cwd, file), 'utf8');
  const bundle =
    bundleFormat(invocation) === 'spiffe'
      ? parseBundleDocument(text, trustDomain)
      : new Bundle({ trustDomain, x509Authorities: parsePemCertificates(text).map(({ raw }) => new X509Authority(raw)) });
  using connection = await connectCa(invocation);
  const { results } = await connection.client(BundleService).batchSetFederatedBundle({ bundle: [wireBundle(bundle)] });
  requireOk(results[0]?.status);
  invocation.terminal.write(`bundle of ${trustDomain.name} set\n`);
  return 0;
};

/** `countersign bundle delete` */
export const deleteBundle: CommandRun = async (invocation) => {
  const trustDomain = invocation.requiredText('trust-domain');
  const mode = MODES[invocation.text('mode') ?? 'restrict'];
  if (mode === undefined) throw usage(invocation.command, `--mode must be one of ${Object.keys(MODES).join(', ')}`);
  using connection = await connectCa(invocation);
  const { results } = await connection.client(BundleService).batchDeleteFederatedBundle({ trustDomains: [trustDomain], mode });
  requireOk(results[0]?.status);
  invocation.terminal.write(`bundle of ${trustDomain} deleted\n`);
  return 0;
};

function bundleFormat(invocation: Invocation): 'pem' | 'spiffe' {
  const format = invocation.text('format') ?? 'pem';
  if (format !== 'pem' && format !== 'spiffe')
    throw usage(invocation.command, `--format ${format} is unknown; use pem or spiffe`);
  return format;
}

function formatBundle(bundle: Bundle, format: 'pem' | 'spiffe'): string {
  if (format === 'spiffe') return `${formatBundleDocument(bundle)}\n`;
  return bundle.x509Authorities.map(({ der }) => encodePem('CERTIFICATE', der)).join('');
}

function requireOk(status: Status | undefined): void {
  if (status?.code !== 0) {
    throw new IdentityError(
      'failed_precondition',
      `the CA refused: ${status?.message ?? 'no reason given'} (code ${status?.code ?? 'unknown'})`,
    );
  }
}
