import { CA_OPTIONS } from '../ca-connection.ts';
import type { CommandSpec, OptionSpec } from '../command.ts';
import { OUTPUT_OPTION } from '../output.ts';

const POLICIES: Readonly<Record<'policies' | 'default', OptionSpec>> = {
  policies: {
    value: 'DIR|FILE',
    summary: 'policies in YAML or JSON; of a folder all files; - for standard input; without it those that the CA has',
    multiple: true,
  },
  default: {
    value: 'audit|allow|deny',
    summary:
      'what holds where no ALLOW policy selects the destination; without it what the CA has configured, and with --policies audit',
  },
};

const TEXT_OR_JSON: Readonly<Record<'output', OptionSpec>> = {
  output: { value: 'text|json', summary: 'how to print the result; text unless given' },
};

const DESTINATION: Readonly<Record<'to' | 'to-namespace' | 'to-service-account' | 'selector' | 'port', OptionSpec>> = {
  to: { value: 'SPIFFE_ID', summary: 'who is called' },
  'to-namespace': { value: 'NAME', summary: 'namespace of who is called' },
  'to-service-account': { value: 'NAME', summary: 'service account of who is called' },
  selector: { value: 'TYPE:VALUE', summary: 'what the called workload was attested with', multiple: true },
  port: { value: 'NUMBER', summary: 'port that is called' },
};

const SINCE: OptionSpec = {
  value: 'DURATION',
  summary: 'of what the CA recorded only calls seen in the last so long, such as 24h',
};
const NAMESPACE: OptionSpec = { value: 'NAME', summary: 'of what the CA recorded only calls to this namespace' };
const CALLS = 'recorded|FILE';

/** Authorization policies, in files or at the CA: what they decide, and what a change of them would. With files alone no process is needed. */
export const POLICY_COMMANDS: readonly CommandSpec[] = [
  {
    path: ['policy', 'test'],
    summary: 'Compare what policies decide with files of expected decisions; say who may call the operations of an API',
    positionals: 'FILE...',
    options: {
      ...POLICIES,
      openapi: { value: 'FILE', summary: 'an OpenAPI 3 description: who may call each of its operations' },
      ...DESTINATION,
      output: { value: 'text|json', summary: 'how to print what --openapi finds; text unless given' },
      ...CA_OPTIONS,
    },
    examples: [
      'countersign policy test decisions.yaml --policies policies/',
      'countersign policy test --openapi orders.yaml --to-namespace shop --to-service-account orders --policies policies/',
    ],
    load: async () => (await import('../run/policy-test.ts')).testPolicies,
  },
  {
    path: ['policy', 'explain'],
    summary: 'Say how one call is decided: every policy, rule and field',
    options: {
      ...POLICIES,
      call: { value: 'FILE', summary: 'the call in YAML or JSON, instead of the options below' },
      from: { value: 'SPIFFE_ID', summary: 'who calls; without it, somebody who shows no SVID' },
      'from-namespace': { value: 'NAME', summary: 'namespace of the registration of the caller' },
      'from-service-account': { value: 'NAME', summary: 'service account of the registration of the caller' },
      'from-address': { value: 'IP', summary: 'address of the caller' },
      ...DESTINATION,
      method: { value: 'METHOD', summary: 'HTTP method; GET unless given' },
      host: { value: 'HOST', summary: 'host of the request' },
      path: { value: 'PATH', summary: 'path of the request; without any of these it is a connection' },
      header: { value: 'NAME:VALUE', summary: 'a header of the request', multiple: true },
      claims: { value: 'JSON', summary: "claims of the user's verified token, with iss and sub" },
      ...TEXT_OR_JSON,
      ...CA_OPTIONS,
    },
    examples: [
      'countersign policy explain --policies policies/ --call call.yaml',
      'countersign policy explain --policies policies/ --from spiffe://example.org/ns/shop/sa/web --to-namespace shop --selector k8s:pod-label:app:orders --path /orders/7',
    ],
    load: async () => (await import('../run/policy-explain.ts')).explainCall,
  },
  {
    path: ['policy', 'simulate'],
    summary: 'List the recorded calls that new, changed or deleted policies would decide otherwise',
    options: {
      file: { value: 'FILE', short: 'f', summary: 'new or changed policies; - for standard input', multiple: true },
      delete: { value: 'KIND/NAMESPACE/NAME', summary: 'a policy that would be taken back', multiple: true },
      ...POLICIES,
      against: {
        value: CALLS,
        summary: 'calls that the CA recorded, or a file with one JSON object in each line; recorded unless given',
      },
      since: SINCE,
      'count-dry-run': { summary: 'count policies of mode DryRun as enforced afterwards' },
      ...TEXT_OR_JSON,
      ...CA_OPTIONS,
    },
    examples: [
      'countersign policy simulate -f new.yaml --against recorded',
      'countersign policy simulate --delete AuthorizationPolicy/shop/orders',
      'countersign policy simulate -f new.yaml --policies policies/ --against calls.jsonl',
    ],
    load: async () => (await import('../run/policy-simulate.ts')).simulatePolicies,
  },
  {
    path: ['policy', 'lint'],
    summary: 'Find rules that never decide, contradict each other, or let in more than was used',
    options: {
      ...POLICIES,
      against: { value: CALLS, summary: 'recorded calls, to find what is not used' },
      since: SINCE,
      ...OUTPUT_OPTION,
      ...CA_OPTIONS,
    },
    examples: [
      'countersign policy lint --against recorded',
      'countersign policy lint --policies policies/ --against calls.jsonl',
    ],
    load: async () => (await import('../run/policy-lint.ts')).lintPolicies,
  },
  {
    path: ['policy', 'suggest'],
    summary: 'Write the narrowest policies that allow what was recorded',
    options: {
      from: { value: CALLS, summary: 'calls that the CA recorded, or a file; recorded unless given' },
      calls: { value: 'FILE', summary: 'the same as --from FILE' },
      since: SINCE,
      namespace: NAMESPACE,
      ...CA_OPTIONS,
    },
    examples: [
      'countersign policy suggest --from recorded --namespace shop > policies.yaml',
      'countersign policy suggest --from calls.jsonl > policies.yaml',
    ],
    load: async () => (await import('../run/policy-suggest.ts')).suggestPolicies,
  },
  {
    path: ['policy', 'calls'],
    summary: 'Print the calls that the CA recorded, one JSON object in each line',
    options: { since: SINCE, namespace: NAMESPACE, ...CA_OPTIONS },
    examples: ['countersign policy calls --since 24h > calls.jsonl'],
    load: async () => (await import('../run/policy-calls.ts')).exportCalls,
  },
  {
    path: ['policy', 'list'],
    summary:
      'List the policies that the CA has: on how many of the nodes concerned they are in force, and what they decided in the last hour',
    options: { ...OUTPUT_OPTION, ...CA_OPTIONS },
    examples: ['countersign policy list'],
    load: async () => (await import('../run/policy-list.ts')).listPolicies,
  },
  {
    path: ['policy', 'set'],
    summary: 'Put policies of files in force, all or none; where a controller declares them, it takes them back',
    options: {
      file: {
        value: 'DIR|FILE',
        short: 'f',
        summary: 'policies in YAML or JSON; of a folder all files; - for standard input',
        multiple: true,
        required: true,
      },
      ...CA_OPTIONS,
    },
    examples: ['countersign policy set -f policies/'],
    load: async () => (await import('../run/policy-set.ts')).setPolicies,
  },
  {
    path: ['policy', 'delete'],
    summary: 'Take policies back, all or none; one that is not there counts as taken back',
    positionals: 'KIND/NAMESPACE/NAME...',
    options: {
      file: { value: 'DIR|FILE', short: 'f', summary: 'the policies that these files declare', multiple: true },
      ...CA_OPTIONS,
    },
    examples: ['countersign policy delete AuthorizationPolicy/shop/orders', 'countersign policy delete -f policies/'],
    load: async () => (await import('../run/policy-set.ts')).deletePolicies,
  },
  {
    path: ['policy', 'import'],
    summary: "Translate Istio's policies, Linkerd's policies or Consul's intentions",
    positionals: 'istio|linkerd|consul FILE...',
    options: {
      'trust-domain': { value: 'NAME', summary: "Istio: the mesh's trust domain, which Istio calls cluster.local too" },
      'root-namespace': { value: 'NAME', summary: 'Istio: where resources about the whole mesh are; istio-system unless given' },
      namespace: { value: 'NAME', summary: 'Consul: where services are that name none; default unless given' },
      'default-policy': {
        value: 'allow|deny',
        summary: 'Consul: what it decides where no intention is about a call; deny unless given',
      },
      'identity-domain': {
        value: 'NAME',
        summary: "Linkerd: the end of this mesh's identities; linkerd.cluster.local unless given",
      },
      'cluster-network': {
        value: 'CIDR',
        summary: 'Linkerd: a network of the cluster, from which clients come where a ServerAuthorization names none',
        multiple: true,
      },
      report: { value: 'FILE', summary: 'where to write what was not carried over; standard error unless given' },
      'fail-on-loss': { summary: 'end with 1 where something was not carried over as it stood' },
    },
    examples: [
      'countersign policy import istio mesh.yaml --trust-domain example.org --report losses.txt > policies.yaml',
      'countersign policy import linkerd mesh.yaml > policies.yaml',
      'countersign policy import consul intentions.yaml --namespace shop --default-policy deny > policies.yaml',
    ],
    load: async () => (await import('../run/policy-import.ts')).importPolicies,
  },
];
