import {
  BatchDeleteFederatedBundleRequest_Mode,
  Bundle as BundleService,
} from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { parseWireBundle, wireBundle } from '../../runtime/bundle-conversion.ts';
import { formatBundleDocument, type Bundle } from '../../spiffe/bundle.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { parseForeignBundle } from '../bundle-file.ts';
import { connectCa } from '../ca-connection.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';
import { readFileOrInput } from '../input-file.ts';
import { requireOk } from '../item-status.ts';

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
  const text = await readFileOrInput(invocation, invocation.text('file'));
  const bundle = parseForeignBundle(text, trustDomain, bundleFormat(invocation));
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
