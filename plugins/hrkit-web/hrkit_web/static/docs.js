// The documentation of the API, made from its OpenAPI description.

const make = (tag, text, ...children) => {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
};

/** Paragraphs of a text, with `code` marked. */
function paragraphs(text) {
  return (text ?? "").split(/\n\s*\n/).filter(Boolean).map((part) => make("p", "", ...part.split("`").map(
    (piece, index) => (index % 2 ? make("code", piece) : piece),
  )));
}

const { info, paths, components } = await (await fetch("/openapi.json")).json();

function described(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(described).filter((one) => one !== "null").join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(", ");
  if (schema.const) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${schema.items ? described(schema.items) : "anything"}`;
  const least = schema.minimum === undefined ? "" : ` from ${schema.minimum}`;
  const most = schema.maximum === undefined ? "" : ` to ${schema.maximum}`;
  return `${schema.format ?? schema.type ?? "anything"}${least}${most}`;
}

function table(title, rows) {
  if (!rows.length) return "";
  const head = make("tr", "", ...title.map((cell) => Object.assign(make("th", cell), { scope: "col" })));
  const body = rows.map((row) => make("tr", "", ...row.map((cell) => make("td", cell))));
  const holder = make("div", "", make("table", "", make("thead", "", head), make("tbody", "", ...body)));
  holder.className = "table";
  holder.tabIndex = 0;
  holder.setAttribute("role", "region");
  holder.setAttribute("aria-label", title[0]);
  return holder;
}

function operation(method, path, said) {
  const parameters = (said.parameters ?? []).map(({ name, schema, description }) => [
    name, described(schema), description ?? schema.description ?? "", schema.default === undefined ? "" : String(schema.default),
  ]);
  const form = said.requestBody?.content["multipart/form-data"]?.schema.properties ?? {};
  const fields = Object.entries(form).map(([name, schema]) => [name, "file", schema.description ?? "", ""]);
  const heading = make("h2", "", make("b", method.toUpperCase()), ` ${path}`);
  return make("article", "", heading, make("p", said.summary), ...paragraphs(said.description),
    table(["Form field", "Type", "Description", ""], fields), table(["Parameter", "Type", "Description", "Default"], parameters));
}

function schema(name, said) {
  const rows = Object.entries(said.properties ?? {}).map(([key, one]) => [key, described(one), one.description ?? ""]);
  return make("article", "", make("h2", name), ...paragraphs(said.description), table(["Key", "Type", "Description"], rows));
}

const answers = ["PosesOut", "PersonOut", "SkeletonOut", "Refusal"].filter((name) => name in components.schemas);
document.getElementById("docs").append(
  ...paragraphs(info.description),
  ...Object.entries(paths).flatMap(([path, said]) => Object.entries(said).map(([method, one]) => operation(method, path, one))),
  ...answers.map((name) => schema(name, components.schemas[name])),
);
