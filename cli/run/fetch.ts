import { resolve } from 'node:path';

import { WorkloadApi } from '../../client/workload-api.ts';
import type { HintedX509Svid, X509Context } from '../../client/x509-context.ts';
import { formatBundleDocument, type Bundle } from '../../spiffe/bundle.ts';
import { encodePem } from '../../spiffe/certificate.ts';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import { readFileOrInput } from '../input-file.ts';
import { usage, type CommandRun, type Invocation } from '../command.ts';
import { formatSeconds, printRows, type Row } from '../output.ts';
import { writeSvidFiles } from '../svid-files.ts';
import { workloadAddress } from '../workload-address.ts';

/** `countersign fetch x509` */
export const fetchX509: CommandRun = async (invocation) => {
  using api = openApi(invocation);
  await eachValue(invocation, api.watchX509Context(invocation.terminal.signal), (context) => printContext(invocation, context));
  return 0;
};

async function printContext(invocation: Invocation, context: X509Context): Promise<void> {
  const folder = invocation.text('write');
  if (folder !== undefined) {
    const { svid, key, bundle } = await writeSvidFiles(resolve(invocation.terminal.cwd, folder), context);
    invocation.terminal.write(`${context.svids[0].id.toString()}: wrote ${svid}, ${key} and ${bundle}\n`);
    return;
  }
  await printRows(
    invocation,
    context.svids.map((svid) => rowOfSvid(svid, context)),
    'blocks',
  );
}

function rowOfSvid(svid: HintedX509Svid, { bundles }: X509Context): Row {
  const [leaf] = svid.chain;
  return {
    spiffeId: svid.id.toString(),
    hint: svid.hint === '' ? undefined : svid.hint,
    validFrom: leaf === undefined ? undefined : formatSeconds(leaf.notBeforeMs / 1000),
    validUntil: formatSeconds(svid.expiresAtMs / 1000),
    serialNumber: leaf?.serialHex,
    dnsNames: leaf === undefined || leaf.dnsSans.length === 0 ? undefined : leaf.dnsSans,
    intermediates: svid.chain.length > 1 ? svid.chain.length - 1 : undefined,
    trusts: [...bundles].map(({ trustDomain }) => trustDomain.name),
  };
}

/** `countersign fetch jwt`: the tokens alone, one in a line, so that a script can take them. */
export const fetchJwt: CommandRun = async (invocation) => {
  const id = invocation.text('spiffe-id');
  using api = openApi(invocation);
  const svids = await api.fetchJwtSvids({
    audience: invocation.texts('audience'),
    ...(id === undefined ? {} : { spiffeId: parseSpiffeId(id) }),
  });
  if (invocation.text('output') === undefined) invocation.terminal.write(svids.map(({ token }) => `${token}\n`).join(''));
  else {
    const rows = svids.map(({ id: spiffeId, hint, expiresAtMs, audience, token }) => ({
      spiffeId: spiffeId.toString(),
      hint,
      audience,
      validUntil: formatSeconds(expiresAtMs / 1000),
      token,
    }));
    await printRows(invocation, rows, 'blocks');
  }
  return 0;
};

/** `countersign fetch wit` */
export const fetchWit: CommandRun = async (invocation) => {
  using api = openApi(invocation);
  await eachValue(invocation, api.watchWitSvids(invocation.terminal.signal), async (svids) => {
    const rows = svids.map(({ id, hint, expiresAtMs, token }) => ({
      spiffeId: id.toString(),
      hint,
      validUntil: formatSeconds(expiresAtMs / 1000),
      token,
    }));
    await printRows(invocation, rows, 'blocks');
  });
  return 0;
};

/** `countersign fetch bundles` */
export const fetchBundles: CommandRun = async (invocation) => {
  const { terminal } = invocation;
  using api = openApi(invocation);
  const kind = invocation.text('kind') ?? 'x509';
  if (kind === 'x509')
    await eachValue(invocation, api.watchX509Bundles(terminal.signal), (bundles) => printPem(invocation, bundles));
  else if (kind === 'jwt')
    await eachValue(invocation, api.watchJwtBundles(terminal.signal), (bundles) => printDocuments(invocation, bundles));
  else if (kind === 'wit')
    await eachValue(invocation, api.watchWitBundles(terminal.signal), (bundles) => printDocuments(invocation, bundles));
  else throw usage(invocation.command, `--kind ${kind} is unknown; use x509, jwt or wit`);
  return 0;
};

function printPem(invocation: Invocation, bundles: Iterable<Bundle>): void {
  for (const { trustDomain, x509Authorities } of bundles) {
    invocation.terminal.write(
      `# ${trustDomain.name}\n${x509Authorities.map(({ der }) => encodePem('CERTIFICATE', der)).join('')}`,
    );
  }
}

function printDocuments(invocation: Invocation, bundles: readonly Bundle[]): void {
  for (const bundle of bundles) invocation.terminal.write(`${bundle.trustDomain.name}\n${formatBundleDocument(bundle)}\n`);
}

/** `countersign validate` */
export const validate: CommandRun = async (invocation) => {
  const token = await readFileOrInput(invocation, invocation.text('token-file'));
  using api = openApi(invocation);
  const { id, claims } = await api.validateJwtSvid(token.trim(), invocation.requiredText('audience'));
  await printRows(invocation, [{ valid: true, spiffeId: id.toString(), claims: JSON.stringify(claims) }], 'blocks');
  return 0;
};

function openApi(invocation: Invocation): WorkloadApi {
  return new WorkloadApi({ address: workloadAddress(invocation) });
}

/** Handles the first value, or with `--watch` each one until the user interrupts. */
async function eachValue<T>(
  invocation: Invocation,
  values: AsyncGenerator<T, void, undefined>,
  handle: (value: T) => void | Promise<void>,
): Promise<void> {
  for await (const value of values) {
    await handle(value);
    if (!invocation.flag('watch')) return;
  }
}
