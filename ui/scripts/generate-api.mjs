// Writes src/api/generated.ts from the orchestrator's OpenRPC document: types, the table of methods, the table of
// subscriptions. With --check it fails when the file is not what would be written.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const documentPath = here('../../orchestrator/api/openrpc.json');
const target = here('../src/api/generated.ts');
const openrpc = JSON.parse(readFileSync(documentPath, 'utf8'));
const schemas = openrpc.components.schemas;

const isPage = (name) => /^Page\d*$/.test(name);

function named(reference) {
  const name = reference.split('/').pop();
  return isPage(name) ? `Page<${type(schemas[name].properties.items.items)}>` : name;
}

function type(schema) {
  if (schema === true || schema === undefined) return 'unknown';
  if (schema.$ref) return named(schema.$ref);
  if (schema.allOf?.length === 1) return type(schema.allOf[0]);
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return unique(choices.map(type)).join(' | ');
  if ('const' in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (Array.isArray(schema.type)) {
    return unique(schema.type.map((one) => type({ ...schema, type: one }))).join(' | ');
  }
  switch (schema.type) {
    case 'string':
      return 'string';
    case 'integer':
    case 'number':
      return 'number';
    case 'boolean':
      return 'boolean';
    case 'null':
      return 'null';
    case 'array':
      if (Array.isArray(schema.items)) return `[${schema.items.map(type).join(', ')}]`;
      return `Array<${type(schema.items)}>`;
    case 'object':
      return object(schema);
    default:
      return 'unknown';
  }
}

function unique(list) {
  return [...new Set(list)];
}

function object(schema) {
  const required = new Set(schema.required ?? []);
  const fields = Object.entries(schema.properties ?? {}).map(([name, field]) => {
    const key = /^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name);
    return `${comment(field.description, '  ')}  ${key}${required.has(name) ? '' : '?'}: ${type(field)};\n`;
  });
  if (fields.length === 0) {
    const values = schema.additionalProperties;
    return values && values !== true ? `Record<string, ${type(values)}>` : 'Record<string, never>';
  }
  return `{\n${fields.join('')}}`;
}

function comment(text, indent) {
  return text ? `${indent}/** ${text.replace(/\s+/g, ' ')} */\n` : '';
}

const lines = [
  '// Written by scripts/generate-api.mjs from orchestrator/api/openrpc.json. Not edited by hand.',
  '',
  '/** One page of a list. */',
  'export interface Page<T> {\n  items: T[];\n  total: number;\n  next?: string | null;\n  /** Goes on from here, of lists that can be followed. */\n  revision?: string | null;\n}',
  '',
];
for (const [name, schema] of Object.entries(schemas)) {
  if (isPage(name)) continue;
  lines.push(`${comment(schema.description, '')}export type ${name} = ${type(schema)};`, '');
}

const calls = openrpc.methods.filter((method) => !method['x-unsubscribe']);
const streams = openrpc.methods.filter((method) => method['x-unsubscribe']);
lines.push('export interface Methods {');
for (const method of calls) {
  const params = type(method['x-params']);
  // With `dry_run` the result is a plan instead; that is the caller's to know.
  const result = method['x-dry-run'] ? method.result.schema.anyOf[0] : method.result.schema;
  lines.push(`  '${method.name}': { params: ${params}; result: ${type(result)} };`);
}
lines.push('}', '', 'export type MethodName = keyof Methods;', '');
lines.push('export interface MethodInfo {\n  permission: Permission;\n  mutation: boolean;\n  dryRun: boolean;\n}', '');
lines.push('export const METHODS: Record<MethodName, MethodInfo> = {');
for (const method of calls) {
  const info = `permission: '${method['x-permission']}', mutation: ${method['x-mutation']}, dryRun: ${method['x-dry-run']}`;
  lines.push(`  '${method.name}': { ${info} },`);
}
lines.push('};', '', 'export interface Subscriptions {');
for (const method of streams) {
  lines.push(`  '${method.name}': { params: ${type(method['x-params'])}; item: ${type(method['x-item'])} };`);
}
lines.push('}', '', 'export type SubscriptionName = keyof Subscriptions;', '');
lines.push('export const SUBSCRIPTIONS: Record<SubscriptionName, { unsubscribe: string; notification: string }> = {');
for (const method of streams) {
  const names = `unsubscribe: '${method['x-unsubscribe']}', notification: '${method['x-notification']}'`;
  lines.push(`  '${method.name}': { ${names} },`);
}
lines.push('};', '');

const text = lines.join('\n');
if (process.argv.includes('--check')) {
  if (readFileSync(target, 'utf8') !== text) {
    console.error('src/api/generated.ts is not what openrpc.json says; run: npm run generate');
    process.exit(1);
  }
} else {
  writeFileSync(target, text);
}
