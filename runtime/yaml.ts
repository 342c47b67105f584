/**
 * The YAML library, to be imported late: `await import('../runtime/yaml.ts')`. Importing the package itself late would give a
 * bundled program its default export only, because the package is CommonJS there.
 */
export { parse, parseAllDocuments, parseDocument, stringify } from 'yaml';
