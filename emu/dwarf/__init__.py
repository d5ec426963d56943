"""The two DWARF tables that a report needs: source lines and call frames. Read lazily, hostile input included."""
