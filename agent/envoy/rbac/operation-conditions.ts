import type { GrpcClause, OperationClause } from '../../../policy/resources/operation-clause.ts';
import { all, any, type Condition, HAS_PORT, header, judged, NEVER, not, path } from './condition.ts';
import { headerCondition, isPlain } from './header-conditions.ts';
import { hostCondition } from './host-conditions.ts';
import { type ExpressionLimits, type Matched, pathCondition, UNKNOWN } from './path-conditions.ts';
import { encodedGlob } from './path-text.ts';
import type { RuleContext } from './rule-context.ts';

type OperationFields = Omit<OperationClause, 'not'>;

/** What is asked for, as a rule words it. */
export function operationCondition({ not: refused, ...fields }: OperationClause, context: RuleContext): Condition {
  const { bias } = context;
  const wanted = fieldsOf(fields, context).map((values) =>
    any(...values.map((value) => judged({ ...value, isNegated: false, bias }))),
  );
  const unwanted = fieldsOf(refused ?? NO_FIELDS, context).flatMap((values) =>
    values.map((value) => judged({ ...value, isNegated: true, bias })),
  );
  return all(...wanted, ...unwanted);
}

const NO_FIELDS: OperationFields = {
  ports: undefined,
  hosts: undefined,
  methods: undefined,
  paths: undefined,
  headers: undefined,
  grpc: undefined,
};

/** The fields of a clause, each with its values: any of them must hold. Headers are fields of their own. */
function fieldsOf(fields: OperationFields, { sees, limits, bias }: RuleContext): readonly (readonly Matched[])[] {
  const { ports, hosts, methods, paths, headers = [], grpc } = fields;
  const visible = ports === undefined ? [] : [ports.map(portCondition)];
  const ofRequest = [
    // What tells most rules apart comes first.
    ...given(paths, (clause) => pathCondition(clause, limits)),
    ...given(methods, methodCondition),
    ...given(hosts, hostCondition),
    ...headers.map((clause) => [headerCondition(clause, { limits, bias })]),
    ...given(grpc, (clause) => grpcCondition(clause, limits)),
  ];
  return [...visible, ...(sees === 'requests' ? ofRequest : ofRequest.map(() => [UNKNOWN]))];
}

function given<T>(values: readonly T[] | undefined, condition: (value: T) => Matched): Matched[][] {
  return values === undefined ? [] : [values.map((value) => condition(value))];
}

function portCondition(range: string): Matched {
  const [first = 0, last = first] = range.split('-').map(Number);
  const matches: Condition = first > last || first > 65_535 ? NEVER : { kind: 'port', first, last: Math.min(last, 65_535) };
  return { matches, unknown: not(HAS_PORT) };
}

function methodCondition(method: string): Matched {
  return { matches: header(':method', { exact: method }) };
}

// Repeated types are refused beforehand.
const IS_GRPC: Condition = all(
  header(':method', { exact: 'POST' }),
  any(
    header('content-type', { exact: 'application/grpc', ignoreCase: true }),
    all(
      any(
        header('content-type', { prefix: 'application/grpc+', ignoreCase: true }),
        header('content-type', { prefix: 'application/grpc;', ignoreCase: true }),
      ),
      isPlain('content-type'),
    ),
  ),
);

/** Servers take other content types and methods for gRPC too: for certain it is only what calls itself so. */
function grpcCondition({ service = '*', method = '*' }: GrpcClause, { maxCost }: ExpressionLimits): Matched {
  const [isService, isMethod] = [encodedGlob(service), encodedGlob(method)];
  if (isService === undefined || isMethod === undefined) return { matches: NEVER };
  if (isService.cost + isMethod.cost > maxCost) return UNKNOWN;
  const matches = path({ regex: `/${isService.regex}/${isMethod.regex}/?` });
  return { matches, certainly: all(IS_GRPC, matches) };
}
