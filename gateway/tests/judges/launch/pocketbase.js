// A collection of contacts.
migrate((app) => {
  const fields = [
    { name: "email", type: "email", required: true },
    { name: "name", type: "text" },
    { name: "marker", type: "text" },
    { name: "n", type: "number" },
    { name: "created", type: "autodate", onCreate: true },
    { name: "updated", type: "autodate", onCreate: true, onUpdate: true },
  ];
  app.save(new Collection({ type: "base", name: "contacts", fields }));
}, () => {});
