{# What a table that was made anew must have before anybody can read it: called in the transaction that puts it in the
   place of the former one, with the table that is about to take it. #}
{% macro protect(relation) -%}
{%- endmacro %}
