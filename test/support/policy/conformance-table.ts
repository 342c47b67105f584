// Every enforcement point runs these calls and gives these answers. docs/authorization.md shows some of them.
import type { Scenario } from './table-types.ts';
import { CALLERS } from './table/callers.ts';
import { CONDITIONS } from './table/conditions.ts';
import { CONNECTIONS } from './table/connections.ts';
import { DESTINATIONS } from './table/destinations.ts';
import { OPERATIONS } from './table/operations.ts';
import { ORDER } from './table/order.ts';
import { PATHS } from './table/paths.ts';
import { USERS } from './table/users.ts';

/** The conformance table. */
export const SCENARIOS: readonly Scenario[] = [
  ...ORDER,
  ...CALLERS,
  ...OPERATIONS,
  ...PATHS,
  ...CONNECTIONS,
  ...DESTINATIONS,
  ...USERS,
  ...CONDITIONS,
];
