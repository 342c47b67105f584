import type { CommandSpec, OptionSpec } from '../command.ts';
import { OUTPUT_OPTION } from '../output.ts';

const POLICIES: Readonly<Record<'policies' | 'default', OptionSpec>> = {
  policies: { value: 'DIR|FILE', summary: 'policies in YAML or JSON; of a folder all files', multiple: true, required: true },
  default: { value: 'audit|allow|deny', summary: 'what holds where no ALLOW policy selects the destination; audit unless given' },
};

const TEXT_OR_JSON: Readonly<Record<'output', OptionSpec>> = {
  output: { value: 'text|json', summary: 'how to print the result; text unless given' },
};

/** Authorization policies in files: what they decide, and what a change of them would. None of these needs a running process. */
export const POLICY_COMMANDS: readonly CommandSpec[] = [
  {
    path: ['policy', 'test'],
    summary: 'Compare what policies decide with a file of expected decisions',
    positionals: 'FILE...',
    options: POLICIES,
    examples: ['countersign policy test decisions.yaml --policies policies/'],
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
      to: { value: 'SPIFFE_ID', summary: 'who is called' },
      'to-namespace': { value: 'NAME', summary: 'namespace of who is called' },
      'to-service-account': { value: 'NAME', summary: 'service account of who is called' },
      selector: { value: 'TYPE:VALUE', summary: 'what the called workload was attested with', multiple: true },
      port: { value: 'NUMBER', summary: 'port that is called' },
      method: { value: 'METHOD', summary: 'HTTP method; GET unless given' },
      host: { value: 'HOST', summary: 'host of the request' },
      path: { value: 'PATH', summary: 'path of the request; without any of these it is a connection' },
      header: { value: 'NAME:VALUE', summary: 'a header of the request', multiple: true },
      claims: { value: 'JSON', summary: "claims of the user's verified token, with iss and sub" },
      ...TEXT_OR_JSON,
    },
    examples: [
      'countersign policy explain --policies policies/ --call call.yaml',
      'countersign policy explain --policies policies/ --from spiffe://example.org/ns/shop/sa/web --to-namespace shop --selector k8s:pod-label:app:orders --path /orders/7',
    ],
    load: async () => (await import('../run/policy-explain.ts')).explainCall,
  },
  {
    path: ['policy', 'simulate'],
    summary: 'List the recorded calls that new or changed policies would decide otherwise',
    options: {
      file: { value: 'FILE', short: 'f', summary: 'new or changed policies', multiple: true, required: true },
      ...POLICIES,
      against: { value: 'CALLS.jsonl', summary: 'recorded calls, one JSON object in each line', required: true },
      'count-dry-run': { summary: 'count policies of mode DryRun as enforced afterwards' },
      ...TEXT_OR_JSON,
    },
    examples: ['countersign policy simulate -f new.yaml --policies policies/ --against calls.jsonl'],
    load: async () => (await import('../run/policy-simulate.ts')).simulatePolicies,
  },
  {
    path: ['policy', 'lint'],
    summary: 'Find rules that never decide, contradict each other, or let in more than was used',
    options: {
      ...POLICIES,
      against: { value: 'CALLS.jsonl', summary: 'recorded calls, to find what is not used' },
      ...OUTPUT_OPTION,
    },
    examples: ['countersign policy lint --policies policies/ --against calls.jsonl'],
    load: async () => (await import('../run/policy-lint.ts')).lintPolicies,
  },
  {
    path: ['policy', 'suggest'],
    summary: 'Write the narrowest policies that allow what was recorded',
    options: { calls: { value: 'CALLS.jsonl', summary: 'recorded calls, one JSON object in each line', required: true } },
    examples: ['countersign policy suggest --calls calls.jsonl > policies.yaml'],
    load: async () => (await import('../run/policy-suggest.ts')).suggestPolicies,
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
      report: { value: 'FILE', summary: 'where to write what was not carried over; standard error unless given' },
    },
    examples: [
      'countersign policy import istio mesh.yaml --trust-domain example.org --report losses.txt > policies.yaml',
      'countersign policy import linkerd mesh.yaml > policies.yaml',
      'countersign policy import consul intentions.yaml --namespace shop --default-policy deny > policies.yaml',
    ],
    load: async () => (await import('../run/policy-import.ts')).importPolicies,
  },
];
