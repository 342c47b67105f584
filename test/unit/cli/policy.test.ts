import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { parse } from 'yaml';
import { findCommand, parseInvocation } from '../../../cli/command.ts';
import { POLICY_COMMANDS } from '../../../cli/commands/policy.ts';
import { formatHelp } from '../../../cli/help.ts';

const POLICY = `
apiVersion: countersign.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: orders, namespace: shop }
spec:
  selector: { matchLabels: { app: orders } }
  rules:
    - from: [{ serviceAccounts: [web] }]
      to: [{ methods: [GET] }]
`;
const LINE = {
  source: { spiffeId: 'spiffe://example.org/ns/shop/sa/web', namespace: 'shop', serviceAccount: 'web' },
  destination: { namespace: 'shop', serviceAccount: 'orders', labels: { app: 'orders' } },
  method: 'GET',
  path: '/orders/{id}',
  verdict: 'allow',
  count: 4,
  lastSeen: '2026-01-31T12:00:00Z',
};
const CALL = `source: ${JSON.stringify(LINE.source)}\ndestination: ${JSON.stringify(LINE.destination)}\nrequest: { path: /orders/7 }\n`;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'policy-'));
  write('policy.yaml', POLICY);
  write('calls.jsonl', `${JSON.stringify(LINE)}\n`);
  write('call.yaml', CALL);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, text: string): void {
  writeFileSync(join(folder, name), text);
}

async function run(line: string, ...more: readonly string[]) {
  const words = [...line.split(' '), ...more];
  const command = findCommand(POLICY_COMMANDS, words);
  if (command === undefined) throw new Error(`no command: ${line}`);
  let [out, error] = ['', ''];
  const terminal = {
    cwd: folder,
    environment: {},
    write: (text: string) => void (out += text),
    writeError: (text: string) => void (error += text),
    signal: new AbortController().signal,
  };
  const runCommand = await command.load();
  const code = await runCommand(parseInvocation(command, words.slice(command.path.length), terminal));
  return { code, out, error };
}

describe('policy test', () => {
  const decisions = (fields: string): void =>
    write('decisions.yaml', `calls:\n${`- ${CALL}${fields}`.replaceAll(/^(?!- )(?=.)/gm, '  ')}`.replace(/^- /m, '- '));

  test('what is decided as expected', async () => {
    decisions('expect: allow\npolicy: shop/orders\nrule: 0\nreason: allowed_by_rule\nname: reading\n');
    expect(await run('policy test decisions.yaml --policies policy.yaml')).toEqual({
      code: 0,
      out: 'pass  decisions.yaml calls[0] (reading)\n1 passed, 0 failed\n',
      error: '',
    });
  });

  test('a difference is explained', async () => {
    decisions('expect: deny\nrule: 1\n');
    const { code, out } = await run('policy test decisions.yaml --policies policy.yaml');
    expect(code).toBe(1);
    expect(out).toContain('FAIL  decisions.yaml calls[0]: verdict is allow, expected deny; rule is 0, expected 1\n');
    expect(out).toContain('from[0].serviceAccounts matches');
    expect(out).toContain('0 passed, 1 failed');
  });

  test.each([
    ['expect: perhaps', 'decisions.yaml: calls[0].expect: must be "allow" or "deny"'],
    ['expect: deny\nexpected: allow', 'decisions.yaml: calls[0].expected: unknown key'],
    ['expect: deny\nuser: {}', 'decisions.yaml: calls[0].user.issuer: expected text'],
  ])('a fault names file, index and field: %j', async (fields, message) => {
    decisions(`${fields}\n`);
    await expect(run('policy test decisions.yaml --policies policy.yaml')).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(message),
    });
  });

  test('without a file there is nothing to test', async () => {
    await expect(run('policy test --policies policy.yaml')).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});

describe('policy explain', () => {
  const flags = '--from spiffe://example.org/ns/shop/sa/web --from-namespace shop --from-service-account web --to-namespace shop';

  test('a call of a file', async () => {
    const { code, out } = await run('policy explain --policies policy.yaml --call call.yaml');
    expect({ code, out }).toEqual({
      code: 0,
      out: [
        'allow allowed_by_rule (rule 0 of shop/orders)',
        'ALLOW shop/orders',
        '  rule 0 matches',
        '    from[0].serviceAccounts matches',
        '    to[0].methods matches',
        '',
      ].join('\n'),
    });
  });

  test('a call of options, as JSON', async () => {
    const line = `policy explain --policies policy.yaml ${flags} --selector k8s:pod-label:app:orders --method DELETE --output json`;
    const { decision, policies } = JSON.parse((await run(line)).out);
    expect(decision).toMatchObject({ verdict: 'deny', reason: 'no_rule_matches' });
    expect(policies[0].rules[0].fields[1]).toEqual({ path: 'to[0].methods', outcome: 'does_not_match', isUnseen: false });
  });

  test('a connection, and one to somebody else', async () => {
    const connection = await run(`policy explain --policies policy.yaml ${flags} --selector k8s:pod-label:app:orders`);
    expect(connection.out).toContain('to[0].methods does not match (cannot be seen here)');
    const other = await run(`policy explain --policies policy.yaml ${flags} --path /a%2fb`);
    expect(other.out).toBe(
      'allow path_encoded_slash\nno policy is about the destination\n1 other policy is not about the destination\n',
    );
  });

  test('headers and claims', async () => {
    write(
      'policy.yaml',
      POLICY.replace('serviceAccounts: [web]', 'users: [{ roles: [admin] }]').replace(
        'methods: [GET]',
        'headers: [{ name: x-a, exact: "1" }]',
      ),
    );
    const line = `policy explain --policies policy.yaml ${flags} --selector k8s:pod-label:app:orders`;
    const { out } = await run(line, '--header', 'X-A: 1', '--claims', '{"iss":"https://i","sub":"alice","roles":["admin"]}');
    expect(out).toContain('allow allowed_by_rule');
  });

  test.each([
    ['--header', 'x', '--header "x" must be'],
    ['--claims', '{', '--claims: must be a JSON object'],
    ['--claims', '[]', 'user.issuer'],
    ['--port', 'x', 'destination.port'],
    ['--from', 'web', 'source.spiffeId'],
    ['--default', 'x', '--default x is unknown'],
    ['--output', 'x', '--output x is unknown'],
  ])('a faulty %s is named', async (option, value, message) => {
    await expect(run('policy explain --policies policy.yaml', option, value)).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(message),
    });
  });
});

describe('policy simulate', () => {
  test('lists who would be denied, by which rule, and fails', async () => {
    write('new.yaml', `${POLICY}  action: DENY\n`.replace('name: orders', 'name: closed'));
    const { code, out } = await run('policy simulate -f new.yaml --policies policy.yaml --against calls.jsonl');
    expect(code).toBe(1);
    expect(out).toBe(
      [
        'would be denied: 1',
        '  spiffe://example.org/ns/shop/sa/web -> shop/orders GET /orders/{id} (4 times, last 2026-01-31T12:00:00Z)',
        '    allow -> deny: denied_by_rule, rule 0 of shop/closed',
        '',
      ].join('\n'),
    );
  });

  test('lists what is unknown apart, and fails', async () => {
    write('new.yaml', POLICY.replace('methods: [GET]', 'headers: [{ name: x, exact: "1" }]'));
    const { code, out } = await run('policy simulate -f new.yaml --policies policy.yaml --against calls.jsonl --output json');
    const { denied, unknown } = JSON.parse(out);
    expect([code, denied.length, unknown[0].count, unknown[0].after.rule]).toEqual([1, 0, 4, 0]);
  });

  test('what would be taken back: the rest decides, or the default', async () => {
    const line = 'policy simulate --delete AuthorizationPolicy/shop/orders --policies policy.yaml --against calls.jsonl';
    expect(await run(line)).toMatchObject({ code: 0, out: 'no recorded call would be decided otherwise\n' });
    const { code, out } = await run(`${line} --default deny`);
    expect(code).toBe(1);
    expect(out).toContain('allow -> deny: default_deny');
  });

  test.each([
    ['policy simulate --policies policy.yaml --against calls.jsonl', 'say what would change'],
    ['policy simulate --delete shop/orders --policies policy.yaml --against calls.jsonl', 'must be written AuthorizationPolicy/'],
    [
      'policy simulate --delete AuthorizationPolicy/shop/order --policies policy.yaml --against calls.jsonl',
      'there is no AuthorizationPolicy/shop/order that',
    ],
    [
      'policy simulate -f policy.yaml --delete AuthorizationPolicy/shop/orders --policies policy.yaml --against calls.jsonl',
      'cannot be both',
    ],
  ])('%s is refused', async (line, why) => {
    await expect(run(line)).rejects.toThrow(why);
  });

  test('a RequestAuthentication that requires tokens may cut off whoever has none', async () => {
    const spec = { issuers: [{ issuer: 'https://login.example.org', audiences: ['orders'] }], tokens: 'Required' };
    const people = {
      apiVersion: 'countersign.dev/v1alpha1',
      kind: 'RequestAuthentication',
      metadata: { name: 'people', namespace: 'shop' },
      spec,
    };
    write('people.yaml', JSON.stringify(people));
    const { code, out } = await run('policy simulate -f people.yaml --policies policy.yaml --against calls.jsonl');
    expect([code, out]).toEqual([1, expect.stringContaining('allow -> unknown: token_required')]);
    write('all.yaml', `${POLICY}---\n${JSON.stringify(people)}\n`);
    expect((await run('policy simulate -f people.yaml --policies all.yaml --against calls.jsonl')).code).toBe(0);
  });

  test('is content when nothing changes', async () => {
    write('new.yaml', POLICY.replace('[GET]', '[GET, POST]'));
    expect(await run('policy simulate -f new.yaml --policies policy.yaml --against calls.jsonl')).toEqual({
      code: 0,
      out: 'no recorded call would be decided otherwise\n',
      error: '',
    });
  });
});

describe('policy lint and suggest', () => {
  test('findings, with the exit code', async () => {
    expect((await run('policy lint --policies policy.yaml')).code).toBe(0);
    const { code, out } = await run('policy lint --policies policy.yaml --against calls.jsonl');
    expect([code, out.split('\n')[1]]).toEqual([1, expect.stringMatching(/^wider_than_used {2}shop\/orders {2}0 /)]);
  });

  test('a rule that does not compile is a finding', async () => {
    write('policy.yaml', POLICY.replace('to: [{ methods: [GET] }]', 'when: "1 +"'));
    const { code, error } = await run('policy lint --policies policy.yaml');
    expect([code, error]).toEqual([1, expect.stringContaining('AuthorizationPolicy/shop/orders: spec.rules[0].when:')]);
  });

  test('policies that the other commands read', async () => {
    write('calls.jsonl', `${JSON.stringify(LINE)}\n${JSON.stringify({ ...LINE, source: {} })}\n`);
    const { out, error } = await run('policy suggest --calls calls.jsonl');
    expect(parse(out)).toMatchObject({ kind: 'AuthorizationPolicy', metadata: { name: 'orders-callers', namespace: 'shop' } });
    expect(error).toContain('not covered, because caller, destination or path has no name: nobody known -> shop/orders');
    write('suggested.yaml', out);
    expect((await run('policy explain --policies suggested.yaml --call call.yaml')).out).toContain('allow allowed_by_rule');
  });
});

test('policy suggest names some of what is left, and how much there is more', async () => {
  const lines = Array.from({ length: 30 }, (_, index) => JSON.stringify({ ...LINE, source: {}, path: `/a${index}x` }));
  write('calls.jsonl', lines.join('\n'));
  const { out, error } = await run('policy suggest --calls calls.jsonl');
  expect(out).toBe('');
  expect(error.trim().split('\n')).toHaveLength(21);
  expect(error).toContain('and 10 more kinds of calls are not covered');
});

describe('policy import', () => {
  const ISTIO = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: orders, namespace: shop }
spec:
  rules:
    - from: [{ source: { principals: [cluster.local/ns/shop/sa/web] } }]
    - from: [{ source: { remoteIpBlocks: [10.0.0.0/8] } }]
`;

  test('our resources, and what they lack', async () => {
    write('mesh.yaml', ISTIO);
    const { code, out, error } = await run('policy import istio mesh.yaml --trust-domain example.org');
    expect(code).toBe(0);
    expect(parse(out).spec.rules).toEqual([{ from: [{ spiffeIDs: ['spiffe://example.org/ns/shop/sa/web'] }] }]);
    expect(error).toBe(
      'AuthorizationPolicy shop/orders: spec.rules[1].from[0].source.remoteIpBlocks: rule dropped: nothing of ours stands for it\n',
    );
    expect((await run('policy import istio mesh.yaml --trust-domain example.org --report losses')).error).toBe('');
    expect(readFileSync(join(folder, 'losses'), 'utf8')).toBe(error);
  });

  test('--fail-on-loss ends with 1 where something is lost, and prints all the same', async () => {
    write('mesh.yaml', ISTIO);
    write('whole.yaml', ISTIO.split('\n').slice(0, -2).join('\n'));
    const words = 'policy import istio --trust-domain example.org --fail-on-loss';
    const lost = await run(`${words} mesh.yaml`);
    expect([lost.code, parse(lost.out).kind]).toEqual([1, 'AuthorizationPolicy']);
    expect(await run(`${words} whole.yaml`)).toMatchObject({ code: 0, error: '' });
  });

  test('what the documents of Linkerd do not say', async () => {
    const client = { meshTLS: { identities: ['b.shop.serviceaccount.identity.l5d.example.org'] } };
    const [apiVersion, metadata] = ['policy.linkerd.io/v1beta1', { name: 'a', namespace: 'shop' }];
    write('server.yaml', JSON.stringify({ apiVersion, metadata, kind: 'Server', spec: { podSelector: {}, port: 80 } }));
    write(
      'clients.yaml',
      JSON.stringify({ apiVersion, metadata, kind: 'ServerAuthorization', spec: { server: { name: 'a' }, client } }),
    );
    const words = 'policy import linkerd server.yaml clients.yaml';
    expect(parse((await run(words)).out).spec.rules).toEqual([]);
    const { out } = await run(
      `${words} --identity-domain l5d.example.org --cluster-network 10.0.0.0/8 --cluster-network fd00::/8`,
    );
    expect(parse(out).spec.rules).toMatchObject([
      {
        from: [
          { serviceAccounts: ['shop/b'], ipBlocks: ['10.0.0.0/8'] },
          { serviceAccounts: ['shop/b'], ipBlocks: ['fd00::/8'] },
        ],
      },
    ]);
  });

  test('Linkerd and Consul', async () => {
    write(
      'linkerd.yaml',
      'apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: { name: a, namespace: shop }\nspec: { podSelector: {}, port: 80 }',
    );
    expect(parse((await run('policy import linkerd linkerd.yaml')).out)).toMatchObject({
      metadata: { name: 'a' },
      spec: { rules: [] },
    });
    write('consul.json', '{ "Kind": "service-intentions", "Name": "a", "Sources": [{ "Name": "b", "Action": "allow" }] }');
    const { out } = await run('policy import consul consul.json --namespace shop');
    expect(parse(out).spec.rules).toEqual([{ from: [{ serviceAccounts: ['shop/b'] }] }]);
  });

  test.each(['other mesh.yaml', 'istio', 'consul x --default-policy maybe', 'istio x'])('%s is refused', async (words) => {
    await expect(run(`policy import ${words} --trust-domain example.org`)).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});

describe('--policies', () => {
  const explain = 'policy explain --call call.yaml --policies';

  test('a folder, lists, other documents and labels of namespaces', async () => {
    const cluster = {
      kind: 'ClusterAuthorizationPolicy',
      metadata: { name: 'c' },
      spec: { namespaceSelector: { matchLabels: { a: 'b' } }, rules: [{}] },
    };
    const namespace = { kind: 'Namespace', metadata: { name: 'shop', labels: { a: 'b' } } };
    write(
      'policy.yaml',
      JSON.stringify({ kind: 'List', items: [namespace, cluster, { apiVersion: 'apps/v1', kind: 'Deployment' }] }),
    );
    expect((await run(`${explain} .`)).out).toContain('allow allowed_by_rule (rule 0 of c)');
  });

  test.each([
    ['that is missing', 'none.yaml', 'cannot read none.yaml'],
    ['without a policy', 'call.yaml', 'call.yaml holds no AuthorizationPolicy'],
    ['with an unknown field', 'faulty.yaml', 'faulty.yaml, AuthorizationPolicy orders:\nspec.sel: unknown key'],
    ['that is no YAML', 'broken.yaml', 'broken.yaml is neither YAML nor JSON'],
  ])('a file %s', async (_title, file, message) => {
    write('faulty.yaml', POLICY.replace('selector', 'sel'));
    write('broken.yaml', 'a: [');
    await expect(run(`${explain} ${file}`)).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(message),
    });
  });

  test.each([
    ['that unfolds to very much', 'bomb.yaml', 'bomb.yaml, document 0: cannot be unfolded: Excessive alias count'],
    [
      'with a misspelt kind',
      'kind.yaml',
      'kind.yaml: "AuthorisationPolicy" is no kind of countersign.dev/v1alpha1; there are AuthorizationPolicy, ',
    ],
    ['with a misspelt kind in a folder', 'wrong', 'kind.yaml: "AuthorisationPolicy" is no kind'],
  ])('a file %s is refused, as a fault of it', async (_title, file, message) => {
    const levels = Array.from({ length: 12 }, (_, level) => `b${level}: &b${level} [${`*b${level - 1}, `.repeat(9)}]`);
    write('bomb.yaml', ['b0: &b0 [x, x]', ...levels.slice(1)].join('\n'));
    mkdirSync(join(folder, 'wrong'));
    for (const each of ['kind.yaml', 'wrong/kind.yaml'])
      write(each, `${POLICY}---${POLICY.replace('kind: AuthorizationPolicy', 'kind: AuthorisationPolicy')}`);
    await expect(run(`${explain} ${file}`)).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(message),
    });
  });

  test('standard input, once', async () => {
    const said = (): unknown => vi.spyOn(process, 'stdin', 'get').mockReturnValue(stdin(POLICY));
    said();
    expect((await run(`${explain} -`)).out).toContain('allow allowed_by_rule (rule 0 of shop/orders)');
    said();
    expect(await run('policy simulate -f - --policies policy.yaml --against calls.jsonl')).toMatchObject({ code: 0 });
    said();
    await expect(run('policy simulate -f - --policies - --against calls.jsonl')).rejects.toThrow(
      'only one option can read standard input',
    );
    said();
    await expect(run('policy simulate -f - --policies policy.yaml --against -')).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    vi.spyOn(process, 'stdin', 'get').mockReturnValue(stdin('kind: Namespace\nmetadata: { name: shop }\n'));
    await expect(run(`${explain} -`)).rejects.toThrow('standard input holds no AuthorizationPolicy');
  });

  test('the same policy twice', async () => {
    write('again.yaml', POLICY);
    await expect(run(`${explain} policy.yaml --policies again.yaml`)).rejects.toThrow(
      'AuthorizationPolicy/shop/orders stands in policy.yaml and in again.yaml',
    );
  });
});

function stdin(text: string): typeof process.stdin {
  // The cast is sound for what is used of it: it is read to its end.
  return Readable.from([text]) as unknown as typeof process.stdin;
}

test('calls that are none: the first faults, and how many more', async () => {
  write('calls.jsonl', '\u0000\u0001\n'.repeat(11_590));
  const error: unknown = await run('policy simulate -f policy.yaml --policies policy.yaml --against calls.jsonl').catch(
    (thrown: unknown) => thrown,
  );
  const lines = String(error).split('\n');
  expect(lines).toHaveLength(21);
  expect(lines[0]).toContain('calls.jsonl: line 1');
  expect(lines.at(-1)).toBe('calls.jsonl: and 11570 more');
});

test.each([
  'shop/x',
  'AuthorizationPolicy/x',
  'ClusterAuthorizationPolicy/shop/x',
  'Policy/shop/x',
  'x',
  'AuthorizationPolicy/shop/',
])('delete: %s is no name, and how one is written is said', async (name) => {
  await expect(run(`policy delete ${name}`)).rejects.toThrow(
    `"${name}" must be written AuthorizationPolicy/NAMESPACE/NAME or ClusterAuthorizationPolicy/NAME or RequestAuthentication/NAMESPACE/NAME`,
  );
});

describe('set', () => {
  test('refuses expressions that do not compile before it asks for a CA, with file, policy, field and reason', async () => {
    const withRules = (name: string, rules: object[]) =>
      `${POLICY.slice(0, POLICY.indexOf('  rules:')).replace('name: orders', `name: ${name}`)}  rules: ${JSON.stringify(rules)}\n`;
    const loops = 'user.claims.a.exists(a, user.claims.b.exists(b, user.claims.c.exists(c, user.claims.d.exists(d, a == d))))';
    write('good.yaml', withRules('good', [{ when: 'request.path == "/"' }]));
    write('bad.yaml', `${withRules('cel', [{}, { when: 'request.' }])}---\n${withRules('endless', [{ when: loops }])}`);
    write('re2.yaml', withRules('re2', [{ to: [{ paths: [{ exact: '/' }, { regex: '(a' }] }] }]));
    const failure = run('policy set -f good.yaml -f bad.yaml -f re2.yaml');
    await expect(failure).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(failure).rejects.toThrow(
      /^bad.yaml, AuthorizationPolicy cel:\nspec.rules\[1\].when: the condition is no CEL: .*\nbad.yaml, AuthorizationPolicy endless:\nspec.rules\[0\].when: the condition could take \d+ steps.*\nre2.yaml, AuthorizationPolicy re2:\nspec.rules\[0\].to\[0\].paths\[1\].regex: is no regular expression of RE2$/,
    );
  });
});

test.each(POLICY_COMMANDS.map((command) => [command.path.join(' '), command] as const))('the help of %s', (name, command) => {
  const help = formatHelp(command);
  expect(help).toContain(`Usage: countersign ${name} [OPTIONS]`);
  for (const option of Object.keys(command.options)) expect(help).toContain(`--${option}`);
  expect(command.examples.length).toBeGreaterThan(0);
  for (const example of command.examples) {
    const words = (example.split(/ > /)[0] ?? '').split(' ').slice(1);
    const terminal = { cwd: '/', environment: {}, write: () => {}, writeError: () => {}, signal: new AbortController().signal };
    expect(() => parseInvocation(command, words.slice(command.path.length), terminal)).not.toThrow();
  }
});

describe('policy test --openapi', () => {
  const API = `
openapi: 3.1.0
servers: [{ url: https://orders.example/v1 }]
paths:
  /orders/{id}:
    get: { operationId: read }
    delete: {}
  /health: { get: {} }
`;
  const RULES = POLICY.replace(
    '[GET] }]',
    "[GET], paths: [{ template: '/v1/orders/{id}' }] }]\n    - to: [{ paths: [{ exact: /v1/health }] }]",
  );
  const TO = '--to-namespace shop --to-service-account orders --selector k8s:pod-label:app:orders --policies policy.yaml';

  test('says for each operation who may call it', async () => {
    write('api.yaml', API);
    write('policy.yaml', RULES);
    expect(await run(`policy test --openapi api.yaml ${TO}`)).toEqual({
      code: 1,
      out: [
        'GET /v1/orders/{id}:',
        '  may: service account shop/web (rule 0 of shop/orders)',
        'DELETE /v1/orders/{id}: nobody (no_rule_matches)',
        'GET /v1/health: everybody',
        '  may: everybody (rule 1 of shop/orders)',
        '3 operations; nobody may call 1, everybody 1',
        '',
      ].join('\n'),
      error: '',
    });
  });

  test('as JSON, of a description in JSON', async () => {
    write('api.json', JSON.stringify(parse(API)));
    write('policy.yaml', RULES);
    const { code, out } = await run(`policy test --openapi api.json ${TO} --output json`);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject([
      { method: 'GET', path: '/v1/orders/{id}', operationId: 'read', callers: 'some', rules: [{ effect: 'allow', rule: 0 }] },
      { method: 'DELETE', callers: 'nobody', reason: 'no_rule_matches', rules: [] },
      { path: '/v1/health', callers: 'everybody' },
    ]);
  });

  test('paths as the description has them', async () => {
    write('api.yaml', 'openapi: 3.0.3\nservers: [{ url: /v1 }]\npaths: { "/files/{a}.json": { get: {} } }\n');
    expect((await run(`policy test --openapi api.yaml ${TO}`)).out).toContain('GET /v1/files/{a}.json:');
  });

  test('0 when every operation is for somebody', async () => {
    write('api.yaml', 'openapi: 3.0.3\npaths: { /orders: { get: {} } }\n');
    expect(await run(`policy test --openapi api.yaml ${TO}`)).toMatchObject({ code: 0 });
  });

  test('says how it is called, and what is wrong with the file', async () => {
    write('api.yaml', 'openapi: 3.0.3\npaths: { orders: { get: {} } }\n');
    await expect(run(`policy test --openapi api.yaml ${TO}`)).rejects.toThrow('api.yaml: paths.orders: must begin with a slash');
    await expect(run('policy test --openapi api.yaml --policies policy.yaml')).rejects.toThrow('say whose API it is');
    await expect(run(`policy test ${TO}`)).rejects.toThrow('--openapi FILE');
    write('api.yaml', '{');
    await expect(run(`policy test --openapi api.yaml ${TO}`)).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});
