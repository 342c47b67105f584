import { CA_OPTIONS } from '../ca-connection.ts';
import type { CommandSpec, OptionSpec } from '../command.ts';
import { OUTPUT_OPTION } from '../output.ts';

const ID: Readonly<Record<'spiffe-id' | 'ttl', OptionSpec>> = {
  'spiffe-id': { value: 'ID', summary: 'the identity to issue', required: true },
  ttl: { value: 'TTL', summary: 'its lifetime, such as 30m; the default of the CA unless given' },
};
const WRITE: Readonly<Record<'write', OptionSpec>> = {
  write: {
    value: 'DIR',
    summary: 'write svid.pem, key.pem (mode 0600) and bundle.pem into this folder instead of printing them',
  },
};

/** SVIDs that an administrator has issued by hand. */
export const SVID_COMMANDS: readonly CommandSpec[] = [
  {
    path: ['x509', 'mint'],
    summary: 'Issue an X.509-SVID by hand; the key is made here and never leaves',
    options: { ...ID, dns: { value: 'NAME', summary: 'a DNS name', multiple: true }, ...WRITE, ...CA_OPTIONS },
    examples: ['countersign x509 mint --spiffe-id spiffe://example.org/web --write ./svid'],
    load: async () => (await import('../run/mint.ts')).mintX509,
  },
  {
    path: ['jwt', 'mint'],
    summary: 'Issue a JWT-SVID by hand',
    options: {
      ...ID,
      audience: { value: 'TEXT', summary: 'who will accept it', multiple: true, required: true },
      write: { value: 'FILE', summary: 'write the token to this file (mode 0600)' },
      ...CA_OPTIONS,
    },
    examples: ['countersign jwt mint --spiffe-id spiffe://example.org/web --audience api'],
    load: async () => (await import('../run/mint.ts')).mintJwt,
  },
  {
    path: ['wit', 'mint'],
    summary: 'Issue a WIT-SVID by hand; the key is made here and never leaves',
    options: {
      ...ID,
      write: { value: 'DIR', summary: 'write svid.token and key.jwk (mode 0600) into this folder' },
      ...CA_OPTIONS,
    },
    examples: ['countersign wit mint --spiffe-id spiffe://example.org/web --write ./wit'],
    load: async () => (await import('../run/mint.ts')).mintWit,
  },
  {
    path: ['why'],
    summary: 'Say why a process of this node gets the identities it gets, or none',
    positionals: 'PID',
    options: {
      socket: {
        value: 'PATH',
        summary: "the agent's private socket; else $COUNTERSIGN_AGENT_ADMIN_SOCKET, else ./run/agent/private/admin.sock",
      },
      config: { value: 'FILE', summary: "the agent's configuration file, to read the socket's place from" },
      ...OUTPUT_OPTION,
    },
    examples: ['countersign why 4711', 'countersign why $(pidof nginx) --output json'],
    load: async () => (await import('../run/why.ts')).why,
  },
];
