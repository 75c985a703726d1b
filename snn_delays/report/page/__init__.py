"""A page of HTML as data: sections of text, figures and tables, and how it is written."""
