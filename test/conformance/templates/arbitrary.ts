import { type Arbitrary, array, constantFrom, letrec, type LetrecTypedTie, nat, oneof, tuple } from 'fast-check';

const STRINGS = [
  '.TrustDomain',
  '.ClusterName',
  '$.PodMeta.Name',
  '.PodMeta.Namespace',
  '.PodMeta.UID',
  '.PodSpec.ServiceAccountName',
  '.PodSpec.RestartPolicy',
  '.PodMeta.GenerateName',
  '.PodMeta.GetName',
  '.PodMeta.Labels.app',
  '.PodMeta.Labels.missing',
  '.PodMeta.Annotations.wide',
  '$.PodMeta.Annotations.note',
  '.NodeMeta.UID',
  '.NodeSpec.ProviderID',
];
const NUMBERS = [
  '0',
  '1',
  '2',
  '-1',
  '0x1f',
  "'a'",
  '1.5',
  '2e3',
  '.PodMeta.Generation',
  '.PodSpec.Priority',
  '.PodSpec.SecurityContext.RunAsUser',
  '.PodSpec.ActiveDeadlineSeconds',
  '(index "abc" 0)',
];
const LITERALS = ['""', '"a"', '"web"', '"é"', '`r\\w`', '"a b&c<d>\'e"', String.raw`"\t\"\x41\u00e9"`, '"Always"'];
const COLLECTIONS = [
  '.PodMeta.Labels',
  '.PodMeta.Finalizers',
  '.PodSpec.NodeSelector',
  '.NodeMeta.Annotations',
  '.PodSpec.InitContainers',
  '.PodSpec.SecurityContext.SupplementalGroups',
  '.PodMeta.OwnerReferences',
  '.PodSpec.Containers',
  '(index .PodSpec.Containers 0).Args',
  '.NodeSpec.PodCIDRs',
];
const OTHERS = [
  '.',
  '$',
  '.PodMeta',
  '.PodSpec.Affinity',
  '.PodSpec.SecurityContext',
  '.PodMeta.DeletionTimestamp',
  '.PodMeta.CreationTimestamp',
  'true',
  'false',
  'nil',
  '$x',
  '$y',
  '.Name',
  '.Nope',
  '(index .PodSpec.Containers 0)',
  '.PodSpec.HostNetwork',
  '.PodSpec.AutomountServiceAccountToken',
  '.Key',
  '.PodSpec.RuntimeClassName',
];
const KEYS = ['"app"', '"missing"', '"app.kubernetes.io/name"', '0', '1', '"disk"', '$x'];
const FORMATS = [
  '%s',
  '%v',
  '%d',
  '%q',
  '%x',
  '%5s',
  '%-8v|',
  '%05d',
  '%t',
  '%+v',
  '%T',
  '%c',
  '%.2s',
  '%%',
  '%',
  '% x',
  '%#x',
  '%U',
  '%o',
  '%b',
  '%6.3q',
  '%z',
  '%+d',
  '%X',
];
const STAGES = ['print', 'len', 'not', 'html', 'printf "%v"', 'eq "a"', 'and 1', 'or 0', 'index .PodMeta.Labels', 'js'];
const RANGES = ['', '$x := ', '$x, $y := ', '$x = '];
const TEXTS = ['', ' ', 'a', '/', '\n', ' {', '} ', 'ns/', 'é'];

interface Grammar {
  readonly expression: string;
  readonly argument: string;
  readonly pipeline: string;
  readonly statement: string;
  readonly statements: string;
}

const format = array(constantFrom(...FORMATS, 'a', ' '), { maxLength: 4 }).map((parts) => JSON.stringify(parts.join('')));

const DEPTH = { maxDepth: 4, withCrossShrink: true } as const;

/** One of the functions, with the arguments. */
function call(names: readonly string[], values: Arbitrary<readonly string[]>): Arbitrary<string> {
  return tuple(constantFrom(...names), values).map(([name, rest]) => [name, ...rest].join(' '));
}

function anyOf(...parts: Arbitrary<string>[]): Arbitrary<string> {
  return oneof(DEPTH, ...parts);
}

function list(part: Arbitrary<string>, minLength: number, maxLength: number): Arbitrary<readonly string[]> {
  return array(part, { minLength, maxLength });
}

function pair(first: readonly string[], second: readonly string[]): Arbitrary<readonly string[]> {
  return tuple(constantFrom(...first), constantFrom(...second));
}

const { expression, argument, pipeline, statements } = letrec<Grammar>((tie: LetrecTypedTie<Grammar>) => ({
  argument: anyOf(
    constantFrom(...STRINGS, ...LITERALS),
    constantFrom(...NUMBERS),
    constantFrom(...COLLECTIONS),
    constantFrom(...OTHERS),
    tie('pipeline').map((inner) => `(${inner})`),
    tie('expression').map((inner) => `(${inner})`),
  ),
  expression: anyOf(
    tie('argument'),
    call(['and', 'or', 'print', 'println', 'html', 'js', 'urlquery', 'eq'], list(tie('argument'), 1, 3)),
    call(['eq', 'ne', 'lt', 'le', 'gt', 'ge'], list(tie('argument'), 2, 2)),
    call(['eq', 'ne', 'lt', 'le'], pair(STRINGS, LITERALS)),
    call(['not', 'len'], list(tie('argument'), 1, 1)),
    call(['index'], pair(COLLECTIONS, KEYS)),
    call(['slice'], pair([...STRINGS, ...COLLECTIONS], ['0', '1', '3'])),
    call(['index', 'slice'], list(tie('argument'), 1, 3)),
    tuple(format, list(tie('argument'), 0, 3)).map(([text, values]) => ['printf', text, ...values].join(' ')),
  ),
  pipeline: anyOf(
    tie('expression'),
    tuple(tie('expression'), constantFrom(...STAGES)).map(([value, next]) => `${value} | ${next}`),
  ),
  statement: anyOf(
    constantFrom(...TEXTS),
    tuple(tie('pipeline'), constantFrom('{{ ', '{{', '{{- '), constantFrom(' }}', '}}', ' -}}')).map(
      ([inner, open, close]) => open + inner + close,
    ),
    tuple(constantFrom('$x', '$y'), constantFrom(':=', '='), tie('pipeline')).map(
      ([name, sets, value]) => `{{ ${name} ${sets} ${value} }}`,
    ),
    tuple(constantFrom('if', 'with'), tie('pipeline'), tie('statements'), tie('statements')).map(
      ([word, value, body, otherwise]) => `{{ ${word} ${value} }}${body}{{ else }}${otherwise}{{ end }}`,
    ),
    tuple(constantFrom(...RANGES), constantFrom(...COLLECTIONS, '3', '$x', '$'), tie('statements'), tie('statements')).map(
      ([names, value, body, otherwise]) => `{{ range ${names}${value} }}${body}{{ else }}${otherwise}{{ end }}`,
    ),
    constantFrom('{{ break }}', '{{ continue }}', '{{ . }}', '{{ $x }}', '{{/* note */}}', '{{- /* note */ -}}', '{{ .Name }}'),
  ),
  statements: list(tie('statement'), 0, 3).map((parts) => parts.join('')),
}));

/** Templates that are mostly well formed, over fields that are mostly there. */
export const template = tuple(
  constantFrom('', '{{ $x := .PodMeta.Name }}{{ $y := 2 }}'),
  array(
    oneof(
      statements,
      pipeline.map((inner) => `{{ ${inner} }}`),
      expression.map((inner) => `{{ ${inner} }}`),
      argument.map((inner) => `{{ ${inner} }}`),
    ),
    { maxLength: 3 },
  ),
).map(([variables, parts]) => variables + parts.join(''));

/** The same with a piece cut out, doubled or put in, so that most are no template. */
export const damagedTemplate = tuple(
  template,
  nat(),
  nat(6),
  constantFrom(
    '',
    '{{',
    '}}',
    '"',
    ' ',
    '.',
    '$',
    '(',
    ')',
    '|',
    '-',
    ':=',
    ',',
    '{{ end }}',
    '{{ else }}',
    '`',
    "'",
    '\n',
    '0x',
    '1',
    'e',
    '/*',
  ),
).map(([text, place, length, piece]) => {
  const at = text.length === 0 ? 0 : place % text.length;
  return text.slice(0, at) + piece + text.slice(at + length);
});
