import type { CommandSpec, OptionSpec } from '../command.ts';
import { OUTPUT_OPTION } from '../output.ts';

const SOCKET: Readonly<Record<'socket', OptionSpec>> = {
  socket: {
    value: 'ADDRESS',
    summary:
      "the agent's public socket (path, unix: or tcp: address); else $SPIFFE_ENDPOINT_SOCKET, else ./run/agent/public/api.sock",
  },
};
const WATCH: Readonly<Record<'watch' | 'write', OptionSpec>> = {
  watch: { summary: 'go on, and print each change' },
  write: { value: 'DIR', summary: 'write the material as files into this folder instead of printing it' },
};

/** What a workload does with its agent. */
export const WORKLOAD_COMMANDS: readonly CommandSpec[] = [
  {
    path: ['fetch', 'x509'],
    summary: 'Fetch the X.509-SVIDs of the calling process',
    options: { ...SOCKET, ...WATCH, ...OUTPUT_OPTION },
    examples: ['countersign fetch x509', 'countersign fetch x509 --write ./svid', 'countersign fetch x509 --watch --output json'],
    load: async () => (await import('../run/fetch.ts')).fetchX509,
  },
  {
    path: ['fetch', 'jwt'],
    summary: 'Fetch JWT-SVIDs of the calling process',
    options: {
      audience: { value: 'TEXT', summary: 'who will accept the token', multiple: true, required: true },
      'spiffe-id': { value: 'ID', summary: 'only of this identity' },
      ...SOCKET,
      ...OUTPUT_OPTION,
    },
    examples: ['countersign fetch jwt --audience api', 'countersign fetch jwt --audience api --output json'],
    load: async () => (await import('../run/fetch.ts')).fetchJwt,
  },
  {
    path: ['fetch', 'wit'],
    summary: 'Fetch the WIT-SVIDs of the calling process',
    options: { ...SOCKET, watch: WATCH.watch, ...OUTPUT_OPTION },
    examples: ['countersign fetch wit'],
    load: async () => (await import('../run/fetch.ts')).fetchWit,
  },
  {
    path: ['fetch', 'bundles'],
    summary: 'Fetch the bundles that the calling process verifies its peers with',
    options: { ...SOCKET, watch: WATCH.watch, kind: { value: 'x509|jwt|wit', summary: 'which keys; x509 unless given' } },
    examples: ['countersign fetch bundles', 'countersign fetch bundles --kind jwt --watch'],
    load: async () => (await import('../run/fetch.ts')).fetchBundles,
  },
  {
    path: ['validate'],
    summary: 'Have the agent verify a JWT-SVID',
    options: {
      audience: { value: 'TEXT', summary: 'the audience that the token must be for', required: true },
      'token-file': {
        value: 'FILE',
        summary: 'the token; standard input unless given (never an argument: those are visible to all)',
      },
      ...SOCKET,
      ...OUTPUT_OPTION,
    },
    examples: ['countersign fetch jwt --audience api | countersign validate --audience api'],
    load: async () => (await import('../run/fetch.ts')).validate,
  },
  {
    path: ['run'],
    summary: 'Run a program with its SVID as files, kept current',
    positionals: '-- CMD [ARGS…]',
    options: {
      ...SOCKET,
      dir: { value: 'DIR', summary: 'where svid.pem, key.pem and bundle.pem go; a private temporary folder unless given' },
      signal: { value: 'NAME', summary: 'sent to the program after each rotation, such as SIGHUP; none unless given' },
    },
    examples: ['countersign run -- nginx -g "daemon off;"', 'countersign run --signal SIGHUP --dir /run/web-svid -- ./server'],
    load: async () => (await import('../run/program.ts')).runProgram,
  },
];
