import { CA_OPTIONS } from '../ca-connection.ts';
import type { CommandSpec, OptionSpec } from '../command.ts';
import { OUTPUT_OPTION } from '../output.ts';

const FROM = {
  from: {
    value: 'ADDRESS',
    summary:
      "the SPIRE server's private socket, unix:/path; or HOST:PORT as an admin of it, by the SVID of $SPIFFE_ENDPOINT_SOCKET",
    required: true,
  },
  record: {
    value: 'FILE',
    summary: 'where the migration keeps what it carried over; countersign-migration.json unless given',
  },
  'spire-svid-ttl': { value: 'DURATION', summary: "SPIRE's default_x509_svid_ttl; 1h unless given" },
  ...CA_OPTIONS,
} as const satisfies Readonly<Record<string, OptionSpec>>;
const PLAN = { plan: { summary: 'say what would be done, and change nothing' } } as const satisfies Readonly<
  Record<string, OptionSpec>
>;
const LEAVE = {
  'leave-prefix': {
    value: 'PREFIX',
    summary: 'entries whose ID begins with PREFIX and a dot are left to the controller that makes them; may be repeated',
    multiple: true,
  },
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** Moving a running SPIRE installation over. Every step can be repeated. */
export const MIGRATE_COMMANDS: readonly CommandSpec[] = [
  {
    path: ['migrate', 'spire', 'trust'],
    summary: "First: put each side's authorities into the other's bundle, so that SVIDs of both are trusted everywhere",
    options: { ...FROM, ...PLAN, watch: { summary: 'go on, and carry over new authorities, until interrupted' } },
    examples: [
      'countersign migrate spire trust --from unix:/tmp/spire-server/private/api.sock --plan',
      'countersign migrate spire trust --from unix:/tmp/spire-server/private/api.sock --watch',
    ],
    load: async () => (await import('../run/migrate-trust.ts')).shareTrust,
  },
  {
    path: ['migrate', 'spire', 'copy'],
    summary: 'Second: copy entries, federation and the bundles of foreign trust domains',
    options: { ...FROM, ...PLAN, ...LEAVE, update: { summary: 'make what differs here as it is in SPIRE' } },
    examples: [
      'countersign migrate spire copy --from unix:/tmp/spire-server/private/api.sock --plan',
      'countersign migrate spire copy --from unix:/tmp/spire-server/private/api.sock --leave-prefix main',
    ],
    load: async () => (await import('../run/migrate-copy.ts')).copyRegistrations,
  },
  {
    path: ['migrate', 'spire', 'compare'],
    summary: 'Third: say what differs; the exit code is 1 when something is missing or changed',
    options: { ...FROM, ...LEAVE },
    examples: ['countersign migrate spire compare --from unix:/tmp/spire-server/private/api.sock'],
    load: async () => (await import('../run/migrate-copy.ts')).compareRegistrations,
  },
  {
    path: ['migrate', 'spire', 'agents'],
    summary: "Fourth: list SPIRE's agents and what the move of each takes, or check one of them",
    options: {
      ...FROM,
      ...LEAVE,
      check: { value: 'ID', summary: 'whether this agent can move, or has moved well; the exit code is 1 when not' },
      ...OUTPUT_OPTION,
    },
    examples: [
      'countersign migrate spire agents --from unix:/tmp/spire-server/private/api.sock',
      'countersign migrate spire agents --from unix:/tmp/spire-server/private/api.sock --check spiffe://example.org/spire/agent/k8s_psat/main/UID',
    ],
    load: async () => (await import('../run/migrate-agents.ts')).migrateAgents,
  },
  {
    path: ['migrate', 'spire', 'finish'],
    summary: "Last: take SPIRE's authorities out of our bundle, once no SVID of them can be alive",
    options: { ...FROM, ...PLAN, ...LEAVE, force: { summary: 'do it now: whoever still has an SVID of SPIRE is cut off' } },
    examples: ['countersign migrate spire finish --from unix:/tmp/spire-server/private/api.sock --plan'],
    load: async () => (await import('../run/migrate-agents.ts')).finishMigration,
  },
];
